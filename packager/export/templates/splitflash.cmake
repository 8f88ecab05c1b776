# @made_by@
# include(splitflash.cmake), then splitflash_application(TARGET) after add_executable(TARGET ...):
# TARGET is linked for the app area, and finds @header@. A linker script of your own
# goes behind TARGET; let it INCLUDE @memory@ in place of its MEMORY command.

set(SPLITFLASH_EXPORTED ${CMAKE_CURRENT_LIST_DIR})

function(splitflash_application target)
    set(script ${SPLITFLASH_EXPORTED}/@script@)
    if(ARGC GREATER 1)
        set(script ${ARGV1})
    endif()
    target_include_directories(${target} PRIVATE ${SPLITFLASH_EXPORTED})
    target_link_options(${target} PRIVATE -L${SPLITFLASH_EXPORTED} -T${script})
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS
        ${script} ${SPLITFLASH_EXPORTED}/@memory@)
    set_target_properties(${target} PROPERTIES SUFFIX .elf)
endfunction()
