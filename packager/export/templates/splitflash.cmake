# @made_by@
# include(splitflash.cmake), and after add_executable(TARGET ...) one of
#   splitflash_application(TARGET)              linked for the app area by @script@
#   splitflash_application(TARGET my_script.ld) by your script; let it INCLUDE @memory@ in place
#                                               of its MEMORY command
#   splitflash_application(TARGET KEEP_SCRIPT)  by the script that your project names already, as
#                                               STM32CubeMX's do; put the two numbers of @notes@
#                                               into it, the linker (GNU ld) then sees to them
# TARGET finds @header@ in every case.

set(SPLITFLASH_EXPORTED ${CMAKE_CURRENT_LIST_DIR})

function(splitflash_application target)
    set(script ${SPLITFLASH_EXPORTED}/@script@)
    if(ARGC GREATER 1)
        set(script ${ARGV1})
    endif()
    target_include_directories(${target} PRIVATE ${SPLITFLASH_EXPORTED})
    set_target_properties(${target} PROPERTIES SUFFIX .elf)
    if(NOT script STREQUAL "KEEP_SCRIPT")
        target_link_options(${target} PRIVATE -L${SPLITFLASH_EXPORTED} -T${script})
        set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS
            ${script} ${SPLITFLASH_EXPORTED}/@memory@)
    elseif(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        target_link_options(${target} PRIVATE ${SPLITFLASH_EXPORTED}/@check@)
        set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS
            ${SPLITFLASH_EXPORTED}/@check@)
    endif()
endfunction()
