package sysfile

import "bytes"

// TickNs is the unit of CPU times in /proc/stat and /proc/<pid>/stat in nanoseconds. The kernel converts its own ticks to
// hundredths of a second on every processor that this program runs on.
const TickNs = 10_000_000

// CPUTime is what a CPU has done since boot, in ticks of [TickNs], in the order of /proc/stat.
type CPUTime [10]uint64

// The states of a CPU. Guest and GuestNice are contained in User and Nice.
const (
	User = iota
	Nice
	System
	Idle
	IOWait
	IRQ
	SoftIRQ
	Steal
	Guest
	GuestNice
)

// Busy is the time that the CPU was not idle: user, nice, system, irq, softirq and steal.
func (t *CPUTime) Busy() uint64 {
	return t[User] + t[Nice] + t[System] + t[IRQ] + t[SoftIRQ] + t[Steal]
}

// ParseCPULine parses a line of /proc/stat into t. cpu is the number of the CPU, or -1 for the line of all CPUs together; ok
// is false when the line is about something else. Old kernels have fewer columns: the missing ones are 0.
func ParseCPULine(line []byte, t *CPUTime) (cpu int, ok bool) {
	if !bytes.HasPrefix(line, []byte("cpu")) {
		return 0, false
	}
	name, rest := CutField(line[len("cpu"):])
	cpu = -1
	if isBlank(byteAt(line, len("cpu"))) {
		// `cpu  1 2 3`: what was cut is the first number already.
		rest = line[len("cpu"):]
	} else {
		n, isNumber := ParseUint(name)
		if !isNumber || n >= maxCPU {
			return 0, false
		}
		cpu = int(n)
	}
	*t = CPUTime{}
	for i := range t {
		v, r, isNumber := CutUint(rest)
		if !isNumber {
			return cpu, i > Idle
		}
		t[i], rest = v, r
	}
	return cpu, true
}

func byteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}
