package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const second = uint64(1e9)

func TestEnergy(t *testing.T) {
	f := newFake(t, 4)
	f.use("", 5*second, 0, 7*second, 0) // what was before counts nothing
	s := f.start(func(c *config) { c.packages = 2; c.dram = true; c.startUJ = 1000 })
	checkUJ(t, "package 0 at first", shown(t, s, "intel-rapl:0"), 1000)
	f.use("", 6*second, second/2, 7*second, 3)
	tick(t, s, 2*second)
	checkUJ(t, "package 0", shown(t, s, "intel-rapl:0"), 1000+60e6+30e6)
	checkUJ(t, "core 0", shown(t, s, "intel-rapl:0:0"), 1000+30e6)
	checkUJ(t, "dram 0", shown(t, s, "intel-rapl:0:1"), 1000+4e6+30e6/8)
	checkUJ(t, "package 1", shown(t, s, "intel-rapl:1"), 1000+60e6)
	checkUJ(t, "dram 1", shown(t, s, "intel-rapl:1:1"), 1000+4e6)

	r := s.report(1, 2)
	if want := (packageReport{EnergyUJ: 90e6, FloorUJ: 60e6, DRAMUJ: 7.75e6}); r.Packages["0"] != want {
		t.Errorf("truth of package 0: %+v, want %+v", r.Packages["0"], want)
	}
	if r.MachineCPUNS != second+second/2+3 || r.ElapsedNS != 2*second {
		t.Errorf("machine_cpu_ns %d, elapsed_ns %d", r.MachineCPUNS, r.ElapsedNS)
	}
}

// TestNoDrift ticks with a time and a power that leave fractions of a µJ each
// time.
func TestNoDrift(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(func(c *config) { c.power = power{floor: 31415927, perCore: 20e6} })
	const ticks, ns = 3000, 1000333
	for range ticks {
		tick(t, s, ns)
	}
	whole := uint64(31415927) * ticks * ns // below 2^63
	checkUJ(t, "package", shown(t, s, "intel-rapl:0"), whole/1e9)
}

func TestWrap(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(func(c *config) { c.rangeUJ = 99; c.startUJ = 90; c.power = power{floor: 1e6} })
	for _, step := range []struct{ ns, want uint64 }{{9000, 99}, {1000, 0}, {99000, 99}, {1000, 0}, {250000, 50}} {
		tick(t, s, step.ns)
		checkUJ(t, "wrapping counter", shown(t, s, "intel-rapl:0"), step.want)
	}
	// Nothing overflows on the way, either: 10 kW for three years and 0.123 s.
	s = f.start(func(c *config) {
		c.dir = filepath.Join(f.dir, "other")
		c.rangeUJ, c.startUJ, c.power = 9999999999999999, 9999999999999999, power{floor: 1e10}
	})
	tick(t, s, 100000000123000000)
	checkUJ(t, "huge counter", shown(t, s, "intel-rapl:0"), 1229999999)
}

func TestJobs(t *testing.T) {
	f := newFake(t, 4)
	s := f.start(func(c *config) { c.packages = 2 })
	const job = "slurm_a/uid_0/job_7"
	f.use(job+"/step_0", 0)
	f.use(job+"/step_batch", 0)
	f.use(job, 0)
	f.use("slurm_a/uid_0", 0)
	f.use("slurm_a", 0)
	f.use("slurm_a/uid_0/hold", second) // no group of Slurm's
	f.use("user", second)
	f.allow(job, "0-2")
	f.allow(job+"/step_0", "2")
	tick(t, s, second)
	f.use(job+"/step_0", 0, 0, second)
	f.use(job+"/step_batch", 1000)
	f.use(job, 1001, 0, second)
	f.use("", 2*second, 0, 2*second)
	tick(t, s, second)

	r := s.report(0, 0)
	if len(r.Jobs) != 1 {
		t.Fatalf("%d jobs, want 1", len(r.Jobs))
	}
	j := r.Jobs["7"]
	// 2 s × 30 W, with both CPUs of package 0 and one of two of package 1.
	checkJob(t, "job", j, 20, 60e6, second+1001)
	if want := (jobPackage{DynamicUJ: 20e6, FloorUJ: 30e6}); j.Packages["1"] != want {
		t.Errorf("job in package 1: %+v, want %+v", j.Packages["1"], want)
	}
	checkJob(t, "step 0", j.Steps["0"], 0, 0, second)
	if _, has := j.Steps["0"].Packages["0"]; has {
		t.Error("step 0 has a part of package 0")
	}
	checkJob(t, "batch", j.Steps["batch"], 20, 60e6, 1000) // the cpuset is the job's
}

// TestNodes: one job on two nodes that are simulated on this machine.
func TestNodes(t *testing.T) {
	f := newFake(t, 2)
	s := f.start(nil)
	for _, node := range []string{"slurm_a", "slurm"} {
		f.use(node, second)
		f.use(node+"/uid_0", second)
		f.use(node+"/uid_0/job_1", second)
		f.use(node+"/uid_0/job_1/step_0", second)
	}
	f.allow("slurm_a/uid_0/job_1", "1")
	f.allow("slurm/uid_0/job_1", "")
	f.write(filepath.Join(f.cpuset, "slurm/uid_0/job_1/cpuset.effective_cpus"), "0-1")
	tick(t, s, second)
	r := s.report(0, 0)
	checkJob(t, "job", r.Jobs["1"], 40e6, 45e6, 2*second)
	checkJob(t, "step", r.Jobs["1"].Steps["0"], 40e6, 45e6, 2*second)
}

// TestOneCluster: another cluster's jobs with the same ids are left out.
func TestOneCluster(t *testing.T) {
	f := newFake(t, 1)
	unified := filepath.Join(f.dir, "unified")
	f.write(filepath.Join(unified, "cpu.stat"), "usage_usec 0")
	s := f.start(func(c *config) { c.nodes = []string{"a1", "a2"}; c.roots.unified = unified })
	for i, node := range []string{"a1", "a2", "b1", "a11"} {
		f.use("slurm_"+node+"/uid_0/job_1", 1000)
		f.use("slurm_"+node+"/uid_0", 1000)
		f.use("slurm_"+node, 1000)
		f.write(filepath.Join(unified, "system.slice", node+"_slurmstepd.scope/job_2/cpu.stat"), "usage_usec "+strconv.Itoa(1+i))
	}
	tick(t, s, second)
	r := s.report(0, 0)
	if r.Jobs["1"].CPUNS != 2000 || r.Jobs["2"].CPUNS != 3000 {
		t.Errorf("job 1 %d ns, job 2 %d ns, want 2000 3000", r.Jobs["1"].CPUNS, r.Jobs["2"].CPUNS)
	}
}

// TestFoundRunning: what a job used before the start is not counted.
func TestFoundRunning(t *testing.T) {
	f := newFake(t, 2)
	const job = "slurm_a/uid_0/job_1"
	for _, g := range []string{"slurm_a", "slurm_a/uid_0", job, job + "/step_0"} {
		f.use(g, 100*second)
	}
	s := f.start(nil)
	f.use(job+"/step_0", 101*second)
	f.use(job, 101*second)
	tick(t, s, second)
	checkJob(t, "job", s.report(0, 0).Jobs["1"], 20e6, 30e6, second)
	// Its last CPU time comes from the node's group: 2 s more than was read.
	f.use("slurm_a", 103*second)
	f.remove("slurm_a/uid_0")
	tick(t, s, second)
	r := s.report(0, 0)
	checkJob(t, "job", r.Jobs["1"], 60e6, 30e6, 3*second)
	checkJob(t, "step", r.Jobs["1"].Steps["0"], 60e6, 30e6, 3*second)
}

func TestVanish(t *testing.T) {
	f := newFake(t, 2)
	s := f.start(nil)
	const job = "slurm_a/uid_0/job_1"
	const other = "slurm_a/uid_0/job_2"
	groups := []string{"slurm_a", "slurm_a/uid_0", job, job + "/step_0", job + "/step_1", other}
	for _, g := range groups {
		f.use(g, 0)
	}
	tick(t, s, second)
	f.use(job+"/step_0", second)
	f.use(job+"/step_1", 0, second)
	f.use(job, second, second)
	tick(t, s, second)

	// step_0 used 1 s more and went.
	f.use(job, 2*second, second)
	f.remove(job + "/step_0")
	tick(t, s, second)
	checkJob(t, "step 0", s.report(0, 0).Jobs["1"].Steps["0"], 40e6, 60e6, 2*second)

	// The job used 0.5 s more in step_1 and both went, while the other lives.
	f.use("slurm_a/uid_0", 2*second, 2*second)
	f.use(other, 0, second/2)
	f.remove(job)
	tick(t, s, second)
	r := s.report(0, 0)
	checkJob(t, "job 1", r.Jobs["1"], 70e6, 90e6, 3*second+second/2)
	checkJob(t, "step 1", r.Jobs["1"].Steps["1"], 30e6, 90e6, second+second/2)
	checkJob(t, "job 2", r.Jobs["2"], 10e6, 120e6, second/2)
	if r.UnassignedCPU != 0 {
		t.Errorf("unassigned %d ns", r.UnassignedCPU)
	}
}

// TestVanishTogether: of two that vanish at once nobody knows who used more.
func TestVanishTogether(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(nil)
	for _, g := range []string{"slurm_a", "slurm_a/uid_0", "slurm_a/uid_0/job_1", "slurm_a/uid_0/job_2", "slurm_a/uid_0/job_3"} {
		f.use(g, 0)
	}
	tick(t, s, second)
	f.use("slurm_a/uid_0", 5)
	f.remove("slurm_a/uid_0/job_1")
	f.remove("slurm_a/uid_0/job_2")
	tick(t, s, second)
	if r := s.report(0, 0); r.UnassignedCPU != 5 || r.Jobs["1"].CPUNS != 0 || r.Jobs["2"].CPUNS != 0 {
		t.Errorf("unassigned %d, job 1 %d, job 2 %d, want 5 0 0", r.UnassignedCPU, r.Jobs["1"].CPUNS, r.Jobs["2"].CPUNS)
	}
	f.use("slurm_a/uid_0", 12)
	f.remove("slurm_a/uid_0/job_3")
	tick(t, s, second)
	if r := s.report(0, 0); r.UnassignedCPU != 5 || r.Jobs["3"].CPUNS != 7 {
		t.Errorf("unassigned %d, job 3 %d, want 5 7", r.UnassignedCPU, r.Jobs["3"].CPUNS)
	}
}

// TestAgain: Slurm removes a job's group between steps and makes it anew.
func TestAgain(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(nil)
	const job = "slurm_a/uid_0/job_1"
	for i := range 3 {
		for _, g := range []string{"slurm_a/uid_0", job, job + "/step_0"} {
			f.use(g, 0)
		}
		f.use("slurm_a", uint64(i)*second)
		tick(t, s, second)
		for _, g := range []string{"slurm_a/uid_0", job, job + "/step_0"} {
			f.use(g, second)
		}
		f.use("slurm_a", uint64(i+1)*second)
		tick(t, s, second)
		f.remove("slurm_a/uid_0")
		if i == 1 { // there again before anyone has looked
			continue
		}
		tick(t, s, second)
	}
	for range relist {
		tick(t, s, 0)
	}
	r := s.report(0, 0)
	if j := r.Jobs["1"]; j.CPUNS != 3*second || j.Steps["0"].CPUNS != 3*second {
		t.Errorf("job has %d ns, its step %d, want 3 s", j.CPUNS, j.Steps["0"].CPUNS)
	}
}

// TestMovingSibling: the rest of a group is not shared out while a sibling's
// counter moves around its reading, as the rest may be the sibling's then.
func TestMovingSibling(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(nil)
	const job = "slurm_a/uid_0/job_1"
	for _, g := range []string{"slurm_a", "slurm_a/uid_0", job, job + "/step_0", job + "/step_1"} {
		f.use(g, 0)
	}
	tick(t, s, second)
	h := s.hierarchies[0]
	still, reads := h.parse, uint64(0)
	h.parse = func(b []byte) (reading, error) {
		r, err := still(b)
		if r.total == 1000 { // step_1
			reads++
			r.total, r.pkg[0] = r.total+reads, r.pkg[0]+reads
		}
		return r, err
	}
	f.use(job+"/step_1", 1000)
	f.use(job, 5000)
	f.remove(job + "/step_0")
	for range 3 {
		tick(t, s, second)
	}
	if ns := s.report(0, 0).Jobs["1"].Steps["0"].CPUNS; ns != 0 {
		t.Errorf("step 0 got %d ns while its sibling moved", ns)
	}
	h.parse = still
	f.use(job+"/step_1", 2000)
	tick(t, s, second)
	r := s.report(0, 0).Jobs["1"]
	if r.Steps["0"].CPUNS != 3000 || r.Steps["1"].CPUNS != 2000 || r.CPUNS != 5000 {
		t.Errorf("step 0 %d, step 1 %d, job %d, want 3000 2000 5000", r.Steps["0"].CPUNS, r.Steps["1"].CPUNS, r.CPUNS)
	}
}

// TestUnified: a machine with cgroup v2 only.
func TestUnified(t *testing.T) {
	f := newFake(t, 2)
	root := filepath.Join(f.dir, "unified")
	stat := func(group, usec string) {
		f.write(filepath.Join(root, group, "cpu.stat"), "usage_usec "+usec+"\nuser_usec 1\nsystem_usec 2")
	}
	stat("", "5")
	s := f.start(func(c *config) { c.roots = cgroupRoots{unified: root} })
	const job = "system.slice/n1_slurmstepd.scope/job_3"
	stat("system.slice/n1_slurmstepd.scope/slurmd", "77")
	stat(job, "1000000")
	stat(job+"/step_extern", "0")
	f.write(filepath.Join(root, job, "cpuset.cpus"), "")
	f.write(filepath.Join(root, job, "cpuset.cpus.effective"), "1")
	stat("", "2000005")
	tick(t, s, second)
	r := s.report(0, 0)
	checkJob(t, "job", r.Jobs["3"], 20e6, 15e6, second)
	checkUJ(t, "package", shown(t, s, "intel-rapl:0"), 30e6+40e6)
	stat(job, "1500000")
	if err := os.RemoveAll(filepath.Join(root, job, "step_extern")); err != nil {
		t.Fatal(err)
	}
	tick(t, s, second)
	if err := os.RemoveAll(filepath.Join(root, job)); err != nil {
		t.Fatal(err)
	}
	tick(t, s, second)
	checkJob(t, "job", s.report(0, 0).Jobs["3"], 30e6, 30e6, second+second/2)

	s.close()
	_, err := newSimulator(config{dir: filepath.Join(f.dir, "two"), packages: 2, rangeUJ: 1, roots: cgroupRoots{unified: root}, sys: filepath.Join(f.dir, "sys")})
	if err == nil || !strings.Contains(err.Error(), "by CPU") {
		t.Errorf("two packages with cgroup v2: %v", err)
	}
}

// TestCPUsChange: the floor follows the cpuset.
func TestCPUsChange(t *testing.T) {
	f := newFake(t, 2)
	s := f.start(nil)
	const job = "slurm_a/uid_0/job_1"
	for _, g := range []string{"slurm_a", "slurm_a/uid_0", job} {
		f.use(g, 0)
	}
	f.allow(job, "0-1")
	tick(t, s, second)
	f.allow(job, "0")
	for range rereadCPUs {
		tick(t, s, second)
	}
	floor := s.report(0, 0).Jobs["1"].Packages["0"].FloorUJ
	if floor < 30e6+rereadCPUs*15e6 || floor > 30e6+rereadCPUs*30e6 || floor%15e6 != 0 {
		t.Errorf("floor %d µJ", floor)
	}
	before := floor
	tick(t, s, second)
	checkUJ(t, "floor of a second on one CPU", s.report(0, 0).Jobs["1"].Packages["0"].FloorUJ-before, 15e6)
}

func TestTickAllocates(t *testing.T) {
	f := newFake(t, 2)
	const job = "slurm_a/uid_0/job_1"
	for _, g := range []string{"slurm_a", "slurm_a/uid_0", job, job + "/step_0"} {
		f.use(g, 1)
		f.allow(g, "0-1")
	}
	s := f.start(func(c *config) { c.dram = true })
	tick(t, s, 1)
	// A list of CPUs is read now and then, which takes a few.
	if n := testing.AllocsPerRun(rereadCPUs*10, func() { tick(t, s, 1e6) }); n >= 2 {
		t.Errorf("a tick allocates %v times", n)
	}
}
