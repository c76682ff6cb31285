import Glibc
import ZeroDB

exit(Program.run(arguments: Array(CommandLine.arguments.dropFirst())))
