// The sanitizers' run-time options, linked into every program of a sanitized build: who starts one by hand gets them too.
extern "C" {

const char* __asan_default_options() {
  return "detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1";
}

const char* __ubsan_default_options() { return "print_stacktrace=1"; }

const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1"; }

const char* __tsan_default_suppressions() {
  // Locks and allocations inside oneDNN are seen only in part, since it is not instrumented: not looked at at all.
  return "called_from_lib:libdnnl.so.2\n";
}

}  // extern "C"
