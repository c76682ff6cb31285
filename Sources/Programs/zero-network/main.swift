import Network
import Service

NetworkDaemon.main()
