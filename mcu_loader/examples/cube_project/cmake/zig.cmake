# Zig as the compiler: nothing but 'pip install ziglang', with its Python on the path.

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
find_program(PYTHON NAMES python3 python REQUIRED)
set(CMAKE_C_COMPILER ${PYTHON} -m ziglang cc)
set(CMAKE_ASM_COMPILER ${CMAKE_C_COMPILER})
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

set(TARGET_FLAGS "-target thumb-freestanding-eabihf -mcpu=cortex_m7")
set(CMAKE_C_FLAGS_INIT "${TARGET_FLAGS} -std=c11 -fno-sanitize=undefined -ffunction-sections -fdata-sections -Wall -Wextra")
set(CMAKE_ASM_FLAGS_INIT "${TARGET_FLAGS}")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--gc-sections,--entry=Reset_Handler -T ${CMAKE_SOURCE_DIR}/STM32H743ZITX_FLASH.ld")
