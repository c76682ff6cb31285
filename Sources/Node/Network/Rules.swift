/// The nftables rules of a contract's namespace and of the node.
enum Rules {
    /// The table of a contract's namespace: nothing in but doors and answers, everything out translated.
    static func contract(_ network: ContractNetwork, link: String) -> String {
        let doors = network.doors.map {
            "    iifname \"link0\" ip daddr \(link) tcp dport \($0.port) dnat ip to \($0.address):\($0.targetPort)\n"
        }
        let stores = network.stores.map {
            "    iifname \"br0\" ip daddr \($0.address) tcp dport \($0.port) accept\n"
                + "    iifname \"br0\" ip6 daddr \($0.address6) tcp dport \($0.port) accept\n"
        }
        return """
            add table inet zero
            delete table inet zero
            table inet zero {
              chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
            \(doors.joined())  }
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                oifname "link0" masquerade
              }
              chain forward {
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname "br0" oifname { "br0", "link0" } accept
                iifname "link0" oifname "br0" ct status dnat accept
              }
              chain input {
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                iifname "lo" accept
                meta l4proto { icmp, ipv6-icmp } accept
                iifname "br0" meta l4proto { tcp, udp } th dport 53 accept
                iifname "link0" tcp dport \(NetworkLimits.coreXPort) accept
            \(stores.joined())  }
            }

            """
    }

    /// The grid's table on the node: contracts reach the outside, never each other and never the node itself.
    static func node(table: String, links: String) -> String {
        """
        add table inet \(table)
        delete table inet \(table)
        table inet \(table) {
          chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr \(links) ip daddr != \(links) masquerade
          }
          chain forward {
            type filter hook forward priority filter; policy accept;
            ip saddr \(links) ip daddr \(links) drop
          }
          chain input {
            type filter hook input priority filter; policy accept;
            ip saddr \(links) ct state new drop
          }
        }

        """
    }

    /// dnsmasq's configuration for one contract: its members' names, and nothing from the node's own files.
    static func names(_ network: ContractNetwork, hosts: String) -> String {
        """
        no-resolv
        no-hosts
        bind-interfaces
        interface=br0
        except-interface=lo
        pid-file=
        cache-size=1000
        domain=contract.zero
        expand-hosts
        local=/contract.zero/
        addn-hosts=\(hosts)
        local-ttl=5

        """
    }

    /// The hosts file for dnsmasq: of two instances of a workload, the one that serves.
    static func hosts(_ network: ContractNetwork) -> String {
        (network.members.filter(\.isNamed).map { ($0.name, $0.address, $0.address6) }
            + network.stores.map { ($0.name, $0.address, $0.address6) })
            .map { "\($1) \($0)\n\($2) \($0)\n" }.joined()
    }
}
