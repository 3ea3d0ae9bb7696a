#!/usr/bin/env bash
# dragonboat: the directory of a NodeHost belongs to the name of the host.
#
# Guess:    a NodeHost that is reached by an IP address, or by its NodeHostID (DefaultNodeRegistryEnabled, "when the RaftAddress
#           value might change after restart"), opens its NodeHostDir whatever the machine is called.
# Instead:  NewNodeHost returns "hostname changed" in both cases, and again at every start under the other name. The error is
#           of an internal package, so that nobody can match it. Under the first name the directory opens again.
# Seen:     dragonboat v4.0.0-20250723143628-076c7f6497dc, go 1.26, Linux 6.18.
# Source:   Env.check in internal/server/environment.go compares os.Hostname with the name in dragonboat.ds, and all data lies in
#           NodeHostDir/<name of the host>.
# Matters:  a container that gets another name with each start, or a volume that moves to another machine, cannot go on with
#           its replicas; names have to be given (a StatefulSet, --hostname), or the replica is replaced by a new one and
#           gets a snapshot. The documentation of NodeHostConfig says nothing about the name.
# Needs:    unshare of util-linux, and the right to make a UTS namespace, here or as root of a user namespace.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'package main

import (
	"fmt"
	"os"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
)

func main() {
	for _, name := range []string{"dragonboat", "logdb", "transport", "config", "registry", "raft", "utils"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	c := config.NodeHostConfig{NodeHostDir: os.Args[1], RaftAddress: "127.0.0.1:27600", RTTMillisecond: 50}
	if os.Args[1] == "registry" {
		c.DefaultNodeRegistryEnabled = true
		c.Gossip = config.GossipConfig{BindAddress: "127.0.0.1:27601", Seed: []string{"127.0.0.1:27602"}}
	}
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	nh, err := dragonboat.NewNodeHost(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	nh.Close()
	fmt.Println("opened")
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/lni/dragonboat/v4@v4.0.0-20250723143628-076c7f6497dc >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go build -o finding .
as() { # as NAME DIR: opens the directory on a host of that name
	local flags=-u
	unshare -u true 2>/dev/null || flags=-ru
	unshare "$flags" sh -c 'hostname "$1" && exec ./finding "$2"' sh "$1" "$2" 2>/dev/null
}
code=0
for where in address registry; do
	said="$(as first "$where"), $(as second "$where"), $(as first "$where")"
	printf '%s, on a host called first, second, and first again: %s\n' "$where" "$said"
	[ "$said" = "opened, hostname changed, opened" ] || { echo CHANGED; code=1; }
done
exit $code
