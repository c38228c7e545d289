package cgroups

import (
	"slices"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
)

func TestParseMountinfo(t *testing.T) {
	for _, c := range []struct{ name, info, want string }{
		{"v2", `25 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`, "v2 /sys/fs/cgroup / []"},
		{"hybrid", `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`, "v1 /sys/fs/cgroup/cpu,cpuacct / [cpu cpuacct]; v1 /sys/fs/cgroup/systemd / []; v2 /sys/fs/cgroup/unified / []"},
		{"twice: the one that shows more counts", `33 31 0:30 /docker/x /cg rw - cgroup cgroup rw,cpuacct
34 31 0:30 / /host/cg rw - cgroup cgroup rw,cpuacct
35 31 0:30 /docker/x /cg3 rw - cgroup cgroup rw,cpuacct`, "v1 /host/cg / [cpuacct]"},
		{"mounted over", `33 31 0:30 / /cg rw - cgroup cgroup rw,cpuacct
34 31 0:31 / /cg rw - tmpfs tmpfs rw`, ""},
		{"blank in the path", `33 31 0:30 / /c\040g\134 rw - cgroup2 none rw`, `v2 /c g\ / []`},
		{"broken", "1 2 3\n- -\n33 31 0:30 / /cg rw cgroup2\n\n - cgroup2 x rw", ""},
	} {
		var got []string
		for _, h := range parseMountinfo(c.info) {
			got = append(got, h.Version.String()+" "+h.Path+" "+h.Root+" ["+strings.Join(h.Controllers, " ")+"]")
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, c.want)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("33 31 0:30 / /c\\040g rw shared:4 - cgroup cgroup rw,cpuacct\n41 31 0:38 / /u rw - cgroup2 cgroup2 rw")
	f.Fuzz(func(t *testing.T, s string) {
		var seen []string
		for _, h := range parseMountinfo(s) {
			if h.Version != V1 && h.Version != V2 || slices.Contains(seen, h.Path) {
				t.Errorf("%q: %+v", s, h)
			}
			seen = append(seen, h.Path)
		}
	})
}

func FuzzCPUStat(f *testing.F) {
	f.Add([]byte("usage_usec 314103618\nuser_usec 223901239\nsystem_usec 90202378\nnice_usec 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) { parseCPUStat(b) })
}

func TestCPUStat(t *testing.T) {
	text := []byte("usage_usec 314103618\nuser_usec 223901239\nsystem_usec 90202378\nnice_usec 0\n")
	if s, ok := parseCPUStat(text); !ok || s != (cpuStat{314103618000, 223901239000, 90202378000}) {
		t.Errorf("%+v %v", s, ok)
	}
	for _, bad := range []string{"", "usage_usec\n", "usage_usec x\nuser_usec 1\nsystem_usec 1\n", "usage_usec 99999999999999999\nuser_usec 1\nsystem_usec 1\n"} {
		if s, ok := parseCPUStat([]byte(bad)); ok {
			t.Errorf("%q: %+v", bad, s)
		}
	}
	agenttest.CheckAllocs(t, "parseCPUStat", func() { parseCPUStat(text) })
}

func TestBusyParsers(t *testing.T) {
	cpu := make([]uint64, 2)
	const stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 1 2 3 400 500 6 7 8 9 10\ncpu1 10 0 0 0 0 0 0 0 0 0\ncpu9 1 1 1 1 1 1 1 1\nintr 1\n"
	if err := parseProcStat([]byte(stat), cpu); err != nil || cpu[0] != 27*tickNs || cpu[1] != 10*tickNs {
		t.Errorf("/proc/stat: %v %v", cpu, err)
	}
	for _, bad := range []string{"", "cpu0 1 2 3\n", "cpu0 a b c d e f g h\n", "intr 1\n"} {
		if err := parseProcStat([]byte(bad), cpu); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	cpu = make([]uint64, 2)
	if err := parsePerCPU([]byte("151164236764 172780396014 5 \n"), cpu); err != nil || cpu[0] != 151164236764 || cpu[1] != 172780396014 {
		t.Errorf("usage_percpu: %v %v", cpu, err)
	}
	if err := parsePerCPU([]byte("1\n"), cpu); err == nil {
		t.Error("usage_percpu with too few CPUs is read")
	}
}

func FuzzProcStat(f *testing.F) {
	f.Add([]byte("cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 1 2 3 400 500 6 7 8 9 10\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cpu := make([]uint64, 4)
		_ = parseProcStat(b, cpu)
		_ = parsePerCPU(b, cpu)
	})
}

func TestEnviron(t *testing.T) {
	env := Environ("A=1\x00SLURM_JOB_ID=10707\x00B=\x00=x\x00SLURM_JOB_ID=1\x00NOVALUE\x00")
	for key, want := range map[string]string{"A": "1", "SLURM_JOB_ID": "10707", "B": "", "C": "", "SLURM_JOB": "", "NOVALUE": ""} {
		if got := env.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func FuzzEnviron(f *testing.F) {
	f.Add([]byte("A=1\x00B=2"), "A")
	f.Fuzz(func(t *testing.T, b []byte, key string) { Environ(b).Get(key) })
}
