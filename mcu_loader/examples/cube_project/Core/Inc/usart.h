// usart.h: USART3 (PD8, PD9), 115200 8N1, the ST-LINK port of a NUCLEO-H743ZI2.

#ifndef USART_H
#define USART_H

void MX_USART3_UART_Init(void);
void usart_text(const char *text);
int usart_received(void); // the next character, or -1

#endif
