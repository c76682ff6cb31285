FSProgram.main(CommandLine.arguments)
