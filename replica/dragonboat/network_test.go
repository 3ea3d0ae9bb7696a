package hlograft

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// network has a proxy in front of each node, so that nodes can be cut off: nobody reaches them, and they reach nobody.
type network struct {
	t         *testing.T
	mu        sync.Mutex
	listeners []net.Listener
	nodes     []*process
	links     map[*link]bool
	cut       *process
}

// link is a connection between two nodes.
type link struct {
	from, to *process
	ends     [2]net.Conn
}

// proxy makes a proxy in front of a node and returns its address.
func (n *network) proxy(p *process) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.listeners, n.nodes = append(n.listeners, l), append(n.nodes, p)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go n.forward(in, p)
		}
	}()
	return l.Addr().String()
}

func (n *network) forward(in net.Conn, to *process) {
	defer in.Close()
	from := n.owner(in)
	out, err := net.Dial("tcp", to.config.Listen)
	if err != nil {
		return
	}
	defer out.Close()
	k := &link{from, to, [2]net.Conn{in, out}}
	n.mu.Lock()
	if n.cut != nil && (n.cut == from || n.cut == to) {
		n.mu.Unlock()
		return
	}
	if n.links == nil {
		n.links = map[*link]bool{}
	}
	n.links[k] = true
	n.mu.Unlock()
	go func() {
		io.Copy(in, out)
		in.Close()
	}()
	io.Copy(out, in)
	n.mu.Lock()
	delete(n.links, k)
	n.mu.Unlock()
}

// partition cuts a node off from the others; nil brings all together again.
func (n *network) partition(p *process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = p
	for k := range n.links {
		if p != nil && (k.from == p || k.to == p) {
			k.ends[0].Close()
			k.ends[1].Close()
		}
	}
}

func (n *network) close() {
	for _, l := range n.listeners {
		l.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for k := range n.links {
		k.ends[0].Close()
		k.ends[1].Close()
	}
}

// owner returns the node that has dialed: whose process holds the socket, as the kernel's table says.
func (n *network) owner(in net.Conn) *process {
	port := in.RemoteAddr().(*net.TCPAddr).Port
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil
	}
	local := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != local {
			continue
		}
		for _, p := range n.nodes {
			fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.pid()))
			for _, fd := range fds {
				if to, err := os.Readlink(fd); err == nil && to == "socket:["+f[9]+"]" {
					return p
				}
			}
		}
	}
	return nil
}
