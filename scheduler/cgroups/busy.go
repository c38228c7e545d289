package cgroups

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// busy reads the busy time of each socket: from the root group of v1's cpuacct, which counts nanoseconds per CPU, or else
// from /proc/stat, which counts hundredths of a second.
type busy struct {
	file    *sysfile.File
	parse   func(b []byte, cpu []uint64) error
	cpu     []uint64 // by CPU number, ns; never falls
	socket  []int    // index of the socket by CPU number, or -1
	sockets []int    // their ids
	sum     []uint64
	buf     []byte
	failed  bool // said
}

// openBusy chooses the source. cpuacct counts only what is in the group that the mount shows, so it must show all.
func openBusy(sys, proc string, hs []Hierarchy) (*busy, error) {
	topology, err := sysfile.ReadTopology(sys)
	if err != nil {
		return nil, fmt.Errorf("which CPU is on which socket: %w", err)
	}
	b := &busy{buf: make([]byte, 4096)}
	for i, s := range topology.Sockets {
		b.sockets = append(b.sockets, s.ID)
		for _, c := range s.CPUs {
			for len(b.socket) <= c {
				b.socket = append(b.socket, -1)
			}
			b.socket[c] = i
		}
	}
	b.cpu, b.sum = make([]uint64, len(b.socket)), make([]uint64, len(b.sockets))
	if h := ofController(hs, "cpuacct"); h != nil && h.Root == "/" {
		b.parse = parsePerCPU
		if b.file, err = sysfile.Open(filepath.Join(h.Path, "cpuacct.usage_percpu")); err == nil {
			return b, nil
		}
	}
	b.parse = parseProcStat
	if b.file, err = sysfile.Open(filepath.Join(proc, "stat")); err != nil {
		return nil, err
	}
	return b, nil
}

// tell tells the books. When the file cannot be read the last values stand.
func (b *busy) tell(now agent.Instant, books jobs.Books, log *slog.Logger) {
	text, err := b.file.ReadGrow(&b.buf)
	if err == nil {
		err = b.parse(text, b.cpu)
	}
	if err != nil && !b.failed {
		log.Error("the busy time of the processors cannot be read", "path", b.file.Path(), "err", err)
	}
	b.failed = err != nil
	clear(b.sum)
	for c, ns := range b.cpu {
		if s := b.socket[c]; s >= 0 {
			b.sum[s] += ns
		}
	}
	for i, id := range b.sockets {
		books.Busy(now, id, b.sum[i])
	}
}

func (b *busy) close() error { return b.file.Close() }

var errBusy = errors.New("unexpected content")

// parsePerCPU parses cpuacct.usage_percpu: one number for each possible CPU. CPUs beyond cpu are skipped.
func parsePerCPU(b []byte, cpu []uint64) error {
	for i := range cpu {
		var v uint64
		var ok bool
		if v, b, ok = sysfile.CutUint(b); !ok {
			return errBusy
		}
		cpu[i] = max(cpu[i], v)
	}
	return nil
}

// tickNs is the unit of /proc/stat: the kernel shows hundredths of a second to programs whatever its own tick is.
const tickNs = 10_000_000

// parseProcStat parses the lines of single CPUs: user, nice, system, irq, softirq and steal are busy, idle and iowait are
// not, guest time is in user already. A CPU that is offline has no line and keeps what it had.
func parseProcStat(b []byte, cpu []uint64) error {
	found := false
	for len(b) > 0 {
		var line []byte
		line, b = sysfile.CutLine(b)
		name, rest := sysfile.CutField(line)
		digits, isCPU := bytes.CutPrefix(name, []byte("cpu"))
		if !isCPU {
			break // they come first
		}
		n, ok := sysfile.ParseUint(digits)
		if !ok || n >= uint64(len(cpu)) {
			continue // the sum of all, or a CPU that came later
		}
		var field [8]uint64
		for i := range field {
			if field[i], rest, ok = sysfile.CutUint(rest); !ok {
				return errBusy
			}
		}
		found = true
		ns := (field[0] + field[1] + field[2] + field[5] + field[6] + field[7]) * tickNs
		cpu[n] = max(cpu[n], ns)
	}
	if !found {
		return errBusy
	}
	return nil
}
