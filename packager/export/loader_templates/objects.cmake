# @made_by@
# @script@ knows objects by names like dfuse.o; CMake would call them dfuse.c.obj.
set(CMAKE_C_OUTPUT_EXTENSION .o)
set(CMAKE_C_OUTPUT_EXTENSION_REPLACE ON)
