import Glibc
import LogSimulator

exit(SimulationProgram.run(arguments: Array(CommandLine.arguments.dropFirst())))
