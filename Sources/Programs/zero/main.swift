import CommandLine
import Glibc

exit(await ZeroProgram.run(Array(Swift.CommandLine.arguments.dropFirst())))
