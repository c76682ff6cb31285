import Provision

ProvisionDaemon.main()
