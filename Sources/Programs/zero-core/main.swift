import Core0

CoreProgram.main()
