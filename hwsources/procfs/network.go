package procfs

import (
	"bytes"
	"fmt"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// The columns of /proc/net/dev that are measured, for each direction: bytes, packets, errors and drops come first.
const (
	netColumns   = 4
	netDirection = 8 // columns of one direction
)

// network is the source of /proc/net/dev: the interfaces of the agent's own network namespace.
type network struct {
	file    *sysfile.File
	buf     []byte
	metrics [netColumns]*agent.Metric
	byName  map[string]*iface
	list    []*iface
	polls   uint64
}

// iface is one network interface.
type iface struct {
	name     string
	counters [2][netColumns]sysfile.Counter
	attrs    [2]*agent.Attrs
	seen     uint64 // the poll in which it was there last
}

func newNetwork(s *agent.Setup, f *sysfile.File) *network {
	n := &network{file: f, byName: map[string]*iface{}}
	keys := []string{"interface", "direction"}
	for i, m := range [netColumns]agent.Metric{
		{Name: "network_bytes", Description: "Bytes that an interface has received or sent", Unit: agent.Unit{Base: agent.Byte}},
		{Name: "network_packets", Description: "Packets that an interface has received or sent"},
		{Name: "network_errors", Description: "Errors of an interface"},
		{Name: "network_packet_drops", Description: "Packets that an interface has dropped"},
	} {
		m.Attributes = keys
		n.metrics[i] = s.Metric(m)
	}
	return n
}

// Poll implements [agent.Source].
func (n *network) Poll(b *agent.Batch, now agent.Instant) error {
	data, err := n.read()
	if err != nil {
		return err
	}
	n.polls++
	for len(data) > 0 {
		var line []byte
		line, data = sysfile.CutLine(data)
		name, columns, ok := parseInterface(line)
		if !ok {
			continue // one of the two lines of the header
		}
		i := n.byName[string(name)]
		if i == nil {
			i = n.add(string(name))
		}
		i.seen = n.polls
		n.push(b, now.Wall, i, &columns)
	}
	n.forget()
	return nil
}

// read reads the file, and opens it anew when it gives nothing: some kernels do not begin again with a file that was read.
func (n *network) read() ([]byte, error) {
	data, err := n.file.ReadAll(&n.buf)
	if err == nil && len(data) > 0 {
		return data, nil
	}
	if err := n.file.Reopen(); err != nil {
		return nil, err
	}
	if data, err = n.file.ReadAll(&n.buf); err != nil {
		return nil, stays(n.file, err)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("read %s: %w: it is empty", n.file.Path(), sysfile.ErrSyntax)
	}
	return data, nil
}

// parseInterface parses `  eth0: 1 2 3 …`. The counters of both directions are bytes, packets, errors and drops.
func parseInterface(line []byte) (name []byte, columns [2][netColumns]uint64, ok bool) {
	// Names may have a colon in them, the last one ends the name.
	colon := bytes.LastIndexByte(line, ':')
	if colon < 0 {
		return nil, columns, false
	}
	name = bytes.TrimLeft(line[:colon], " ")
	rest := line[colon+1:]
	for i := range netDirection + netColumns {
		var v uint64
		if v, rest, ok = sysfile.CutUint(rest); !ok {
			return nil, columns, false
		}
		if i%netDirection < netColumns {
			columns[i/netDirection][i%netDirection] = v
		}
	}
	return name, columns, len(name) > 0
}

// add makes the counters of a new interface. One that comes up later has counted from 0.
func (n *network) add(name string) *iface {
	i := &iface{name: name}
	for d, direction := range [2]string{"rx", "tx"} {
		i.attrs[d] = agent.NewAttrs(agent.Attr{Key: "interface", Value: agent.AttrText(name)},
			agent.Attr{Key: "direction", Value: agent.AttrText(direction)})
		for c := range i.counters[d] {
			if n.polls > 1 {
				i.counters[d][c].Delta(0)
			}
		}
	}
	n.byName[name] = i
	n.list = append(n.list, i)
	return i
}

func (n *network) push(b *agent.Batch, wall int64, i *iface, columns *[2][netColumns]uint64) {
	for d := range columns {
		for c, v := range columns[d] {
			if delta, ok := i.counters[d][c].Delta(v); ok {
				b.Add(n.metrics[c], wall, agent.U64(delta), agent.LocalMachine(), agent.NoConsumer(), i.attrs[d])
			}
		}
	}
}

// forget drops the interfaces that are gone, so that those of containers do not pile up.
func (n *network) forget() {
	kept := n.list[:0]
	for _, i := range n.list {
		if i.seen == n.polls {
			kept = append(kept, i)
		} else {
			delete(n.byName, i.name)
		}
	}
	clear(n.list[len(kept):])
	n.list = kept
}
