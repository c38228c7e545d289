package sysfile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
)

// Topology tells which logical CPUs belong to which processor package.
type Topology struct {
	// Sockets are the packages in the order of their numbers.
	Sockets []Socket
}

// Socket is a processor package and its online CPUs in ascending order.
type Socket struct {
	ID   int
	CPUs []int
}

// ReadTopology reads the topology below a root of sysfs. A CPU whose package the kernel does not tell, as in some virtual
// machines, counts as one of package 0.
func ReadTopology(sysRoot string) (Topology, error) {
	base := filepath.Join(sysRoot, "devices/system/cpu")
	online, err := ReadText(filepath.Join(base, "online"))
	if err != nil {
		return Topology{}, err
	}
	cpus, err := ParseCPUList(online)
	if err != nil {
		return Topology{}, fmt.Errorf("read %s/online: %w", base, err)
	}
	var t Topology
	for _, cpu := range cpus {
		t.add(packageOf(base, cpu), cpu)
	}
	slices.SortFunc(t.Sockets, func(a, b Socket) int { return a.ID - b.ID })
	return t, nil
}

// packageOf reads the package of a CPU. The kernel writes -1 where the firmware does not know it.
func packageOf(base string, cpu int) int {
	s, err := ReadText(filepath.Join(base, "cpu"+strconv.Itoa(cpu), "topology/physical_package_id"))
	if err != nil {
		return 0
	}
	id, err := strconv.Atoi(s)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

func (t *Topology) add(id, cpu int) {
	i := slices.IndexFunc(t.Sockets, func(s Socket) bool { return s.ID == id })
	if i < 0 {
		t.Sockets = append(t.Sockets, Socket{ID: id})
		i = len(t.Sockets) - 1
	}
	t.Sockets[i].CPUs = append(t.Sockets[i].CPUs, cpu)
}

// Has tells whether there is a package of that number.
func (t Topology) Has(id int) bool {
	return slices.ContainsFunc(t.Sockets, func(s Socket) bool { return s.ID == id })
}

// SocketOf returns the package of a CPU, or -1 when the CPU is not online.
func (t Topology) SocketOf(cpu int) int {
	for _, s := range t.Sockets {
		if _, ok := slices.BinarySearch(s.CPUs, cpu); ok {
			return s.ID
		}
	}
	return -1
}
