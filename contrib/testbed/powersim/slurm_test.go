package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/contrib/testbed/slurm"
)

// TestRealSlurm runs jobs of a real Slurm on two nodes, some of which live for
// milliseconds. The groups of the nodes outlive them and have counted all of
// their CPU time, so the truth must come to the same sum.
func TestRealSlurm(t *testing.T) {
	roots := realRoots(t)
	c := slurm.Start(t, slurm.Options{Nodes: 2})
	p := startProgram(t, "--floor", "10", "--nodes", strings.Join(c.Nodes, ","))
	burner := "#!/bin/sh\nwork() { i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; }\nwork\n" +
		"srun true\nsrun sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'\nsrun -N2 -n2 true & srun -N1 -n1 -s true\nwait\n"
	var jobs []string
	for range 3 {
		jobs = append(jobs, c.Submit(burner, "--nodes=2", "--oversubscribe"))
	}
	for _, id := range jobs {
		if state := c.Wait(id); state != "COMPLETED" {
			t.Errorf("job %s ended as %s", id, state)
		}
	}
	for range 5 {
		if out, err := c.Run(context.Background(), "srun", "-n1", "true"); err != nil {
			t.Errorf("srun: %v %s", err, out)
		}
	}
	r := p.end()
	kernel := nodesUsage(t, roots, c)
	sum, steps := r.UnassignedCPU, uint64(0)
	for id, j := range r.Jobs {
		sum += j.CPUNS
		for _, s := range j.Steps {
			steps += s.CPUNS
		}
		t.Logf("job %s: %d ns, %d steps, floor %d µJ", id, j.CPUNS, len(j.Steps), j.Packages["0"].FloorUJ)
	}
	t.Logf("jobs and unassigned %d ns, steps %d ns, kernel %d ns", sum, steps, kernel)
	if sum != kernel {
		t.Errorf("jobs and unassigned come to %d ns, the kernel counted %d", sum, kernel)
	}
	if len(r.Jobs) != 8 {
		t.Errorf("%d jobs, want 8", len(r.Jobs))
	}
	if r.UnassignedCPU > kernel/50 {
		t.Errorf("%d ns of %d are not assigned", r.UnassignedCPU, kernel)
	}
}

// nodesUsage returns the CPU time of all jobs that the nodes have had, in ns.
func nodesUsage(t *testing.T, roots cgroupRoots, c *slurm.Cluster) (kernel uint64) {
	t.Helper()
	for _, node := range c.Nodes {
		b, err := os.ReadFile(filepath.Join(roots.cpuacct, "slurm_"+node, "cpuacct.usage"))
		if err != nil {
			t.Fatal(err)
		}
		ns, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		kernel += ns
	}
	return kernel
}
