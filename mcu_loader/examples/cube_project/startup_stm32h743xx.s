@ startup_stm32h743xx.s
@
@ From reset to main(), and the whole vector table: 16 entries of the core, 150
@ of the chip (RM0433 table 149). A handler that nobody defines is
@ Default_Handler. Names and symbols are those of STM32CubeMX start-up files.

    .syntax unified
    .cpu cortex-m7
    .thumb

@ --- the vector table --------------------------------------------------------

    .macro handler name
    .word \name
    .weak \name
    .thumb_set \name, Default_Handler
    .endm

    .macro interrupt name
    handler \name\()_IRQHandler
    .endm

    .macro interrupts names:vararg
    .irp each, \names
    interrupt \each
    .endr
    .endm

    .section .isr_vector, "a", %progbits
    .global g_pfnVectors
    .type g_pfnVectors, %object
g_pfnVectors:
    .word _estack
    .word Reset_Handler
    handler NMI_Handler
    handler HardFault_Handler
    handler MemManage_Handler
    handler BusFault_Handler
    handler UsageFault_Handler
    .fill 4, 4, 0 @ reserved
    handler SVC_Handler
    handler DebugMon_Handler
    .fill 1, 4, 0 @ reserved
    handler PendSV_Handler
    handler SysTick_Handler
    interrupts WWDG, PVD_AVD, TAMP_STAMP, RTC_WKUP, FLASH, RCC, EXTI0, EXTI1
    interrupts EXTI2, EXTI3, EXTI4, DMA1_Stream0, DMA1_Stream1, DMA1_Stream2
    interrupts DMA1_Stream3, DMA1_Stream4, DMA1_Stream5, DMA1_Stream6, ADC
    interrupts FDCAN1_IT0, FDCAN2_IT0, FDCAN1_IT1, FDCAN2_IT1, EXTI9_5
    interrupts TIM1_BRK, TIM1_UP, TIM1_TRG_COM, TIM1_CC, TIM2, TIM3, TIM4
    interrupts I2C1_EV, I2C1_ER, I2C2_EV, I2C2_ER, SPI1, SPI2, USART1, USART2
    interrupts USART3, EXTI15_10, RTC_Alarm
    .fill 1, 4, 0 @ reserved
    interrupts TIM8_BRK_TIM12, TIM8_UP_TIM13, TIM8_TRG_COM_TIM14, TIM8_CC
    interrupts DMA1_Stream7, FMC, SDMMC1, TIM5, SPI3, UART4, UART5, TIM6_DAC
    interrupts TIM7, DMA2_Stream0, DMA2_Stream1, DMA2_Stream2, DMA2_Stream3
    interrupts DMA2_Stream4, ETH, ETH_WKUP, FDCAN_CAL
    .fill 4, 4, 0 @ reserved
    interrupts DMA2_Stream5, DMA2_Stream6, DMA2_Stream7, USART6, I2C3_EV
    interrupts I2C3_ER, OTG_HS_EP1_OUT, OTG_HS_EP1_IN, OTG_HS_WKUP, OTG_HS
    interrupts DCMI
    .fill 1, 4, 0 @ reserved
    interrupts RNG, FPU, UART7, UART8, SPI4, SPI5, SPI6, SAI1, LTDC, LTDC_ER
    interrupts DMA2D, SAI2, QUADSPI, LPTIM1, CEC, I2C4_EV, I2C4_ER, SPDIF_RX
    interrupts OTG_FS_EP1_OUT, OTG_FS_EP1_IN, OTG_FS_WKUP, OTG_FS, DMAMUX1_OVR
    interrupts HRTIM1_Master, HRTIM1_TIMA, HRTIM1_TIMB, HRTIM1_TIMC
    interrupts HRTIM1_TIMD, HRTIM1_TIME, HRTIM1_FLT, DFSDM1_FLT0, DFSDM1_FLT1
    interrupts DFSDM1_FLT2, DFSDM1_FLT3, SAI3, SWPMI1, TIM15, TIM16, TIM17
    interrupts MDIOS_WKUP, MDIOS, JPEG, MDMA
    .fill 1, 4, 0 @ reserved
    interrupts SDMMC2, HSEM1
    .fill 1, 4, 0 @ reserved
    interrupts ADC3, DMAMUX2_OVR, BDMA_Channel0, BDMA_Channel1, BDMA_Channel2
    interrupts BDMA_Channel3, BDMA_Channel4, BDMA_Channel5, BDMA_Channel6
    interrupts BDMA_Channel7, COMP1, LPTIM2, LPTIM3, LPTIM4, LPTIM5, LPUART1
    .fill 1, 4, 0 @ reserved
    interrupts CRS, ECC, SAI4
    .fill 2, 4, 0 @ reserved
    interrupts WAKEUP_PIN
    .size g_pfnVectors, . - g_pfnVectors

@ --- from reset to main ------------------------------------------------------

    .section .text.Reset_Handler, "ax", %progbits
    .global Reset_Handler
    .type Reset_Handler, %function
    .thumb_func
Reset_Handler:
    ldr sp, =_estack
    bl SystemInit

    ldr r0, =_sdata
    ldr r1, =_edata
    ldr r2, =_sidata
    b 2f
1:  ldr r3, [r2], #4
    str r3, [r0], #4
2:  cmp r0, r1
    blo 1b

    ldr r0, =_sbss
    ldr r1, =_ebss
    movs r2, #0
    b 4f
3:  str r2, [r0], #4
4:  cmp r0, r1
    blo 3b

    @ Constructors. No C library is linked here; with one, this loop is its
    @ __libc_init_array.
    ldr r4, =__init_array_start
    ldr r5, =__init_array_end
    b 6f
5:  ldr r0, [r4], #4
    blx r0
6:  cmp r4, r5
    blo 5b

    bl main
    b Default_Handler
    .size Reset_Handler, . - Reset_Handler

@ An interrupt that nobody expects, and a main() that returns: stay here, where
@ a debugger finds it.
    .section .text.Default_Handler, "ax", %progbits
    .global Default_Handler
    .type Default_Handler, %function
    .thumb_func
Default_Handler:
    b Default_Handler
    .size Default_Handler, . - Default_Handler
