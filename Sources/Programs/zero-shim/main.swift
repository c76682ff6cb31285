import Shim

// The shim has one thread: no concurrency here, so that it may fork.
ShimProgram.main()
