import Network

NetworkDaemon.main()
