# TESSERA_SANITIZE instruments all code of ours; generated code and the distribution's libraries never are.
#   address  AddressSanitizer with leaks, UndefinedBehaviorSanitizer, and the standard library's assertions
#   thread   ThreadSanitizer
# A finding ends the program. sanitizer_options.cc has the run-time options of both.
set(TESSERA_SANITIZE "" CACHE STRING "address, thread, or empty for none")
set_property(CACHE TESSERA_SANITIZE PROPERTY STRINGS "" address thread)
option(TESSERA_FUZZ "With `address` and clang: the programs of tests/fuzz that look for inputs of their own" OFF)

if(NOT TESSERA_SANITIZE)
  return()
elseif(TESSERA_SANITIZE STREQUAL "address")
  set(TESSERA_SANITIZE_OPTIONS -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
                               -D_GLIBCXX_ASSERTIONS)
  if(TESSERA_FUZZ)  # clang warns of more than g++, whose word counts
    list(APPEND TESSERA_SANITIZE_OPTIONS -fsanitize=fuzzer-no-link -Wno-error)
  endif()
elseif(TESSERA_SANITIZE STREQUAL "thread")
  set(TESSERA_SANITIZE_OPTIONS -fsanitize=thread)
  # It does not see the barriers of OpenMP: our own parallel loops run in one thread.
  set_target_properties(OpenMP::OpenMP_CXX PROPERTIES INTERFACE_COMPILE_OPTIONS -Wno-unknown-pragmas)
else()
  message(FATAL_ERROR "TESSERA_SANITIZE is address or thread, not ${TESSERA_SANITIZE}")
endif()

# Quick to compile, and a finding names its lines.
set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g1 -fno-omit-frame-pointer")
add_link_options(${TESSERA_SANITIZE_OPTIONS})
add_library(tessera_sanitizer_options OBJECT ${CMAKE_CURRENT_LIST_DIR}/sanitizer_options.cc)
