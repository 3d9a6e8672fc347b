# tessera_library(NAME folder's target, DEPS targets, SOURCES files): a library of our own code, with our warnings.
# `OBJECT` makes it an object library, so that the linker keeps the registrations its files end with.

# -ffp-contract=off: a multiply and an add stay two roundings, so that no choice of the compiler changes a bit.
set(TESSERA_COMPILE_OPTIONS -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers -ffp-contract=off
                            ${TESSERA_SANITIZE_OPTIONS})

function(tessera_library name)
  cmake_parse_arguments(ARG "OBJECT" "" "SOURCES;DEPS" ${ARGN})
  if(ARG_OBJECT)
    add_library(${name} OBJECT ${ARG_SOURCES})
  else()
    add_library(${name} STATIC ${ARG_SOURCES})
  endif()
  target_compile_options(${name} PRIVATE ${TESSERA_COMPILE_OPTIONS})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

function(tessera_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_compile_options(${name} PRIVATE ${TESSERA_COMPILE_OPTIONS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  if(TESSERA_SANITIZE)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:tessera_sanitizer_options>)
  endif()
endfunction()
