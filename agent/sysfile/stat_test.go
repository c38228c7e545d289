package sysfile

import (
	"os"
	"runtime"
	"testing"
)

func TestParseCPULine(t *testing.T) {
	for line, want := range map[string]struct {
		cpu  int
		t    CPUTime
		busy uint64
		ok   bool
	}{
		"cpu  1 2 3 4 5 6 7 8 9 10":             {-1, CPUTime{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 27, true},
		"cpu12 1 2 3 4 5 6 7 8 0 0":             {12, CPUTime{1, 2, 3, 4, 5, 6, 7, 8}, 27, true},
		"cpu0 1 2 3 4":                          {0, CPUTime{1, 2, 3, 4}, 6, true},
		"cpu0 1 2 3 4 5 6 7 8 9 10 11 12 13 14": {0, CPUTime{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 27, true},
		"cpu0 1 2":                              {0, CPUTime{1, 2}, 3, false},
		"cpu":                                   {}, "cpux 1 2 3 4": {}, "cpu99999999 1 2 3 4": {}, "intr 1": {}, "": {},
	} {
		var got CPUTime
		cpu, ok := ParseCPULine([]byte(line), &got)
		if ok != want.ok || ok && (cpu != want.cpu || got != want.t || got.Busy() != want.busy) {
			t.Errorf("%q: cpu %d, %v, busy %d, %v", line, cpu, got, got.Busy(), ok)
		}
	}
}

func TestRealStat(t *testing.T) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Skip(err)
	}
	var ct CPUTime
	cpus, total := 0, false
	parseAll := func() {
		cpus, total = 0, false
		for rest := data; len(rest) > 0; {
			var line []byte
			line, rest = CutLine(rest)
			if cpu, ok := ParseCPULine(line, &ct); ok && cpu < 0 {
				total = true
			} else if ok {
				cpus++
			}
		}
	}
	if n := testing.AllocsPerRun(10, parseAll); n != 0 {
		t.Errorf("parsing allocates %v times", n)
	}
	if cpus == 0 || cpus > 1<<16 || !total {
		t.Errorf("%d CPUs of %d", cpus, runtime.NumCPU())
	}
}

func FuzzParseCPULine(f *testing.F) {
	f.Add([]byte("cpu  1 2 3 4 5 6 7 8 9 10"))
	f.Add([]byte("cpu0 1"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var ct CPUTime
		if cpu, ok := ParseCPULine(line, &ct); ok && (cpu < -1 || cpu >= maxCPU) {
			t.Errorf("%q: cpu %d", line, cpu)
		}
	})
}
