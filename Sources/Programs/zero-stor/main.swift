import Glibc
import ZeroStor

exit(StorProgram.run(arguments: Array(CommandLine.arguments.dropFirst())))
