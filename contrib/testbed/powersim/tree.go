package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// simulatedText is the file SIMULATED in the tree, which also marks a folder
// as one that may be overwritten.
const simulatedText = `The RAPL energy counters in this folder are simulated by powersim
(contrib/testbed/powersim). They follow the CPU time that the kernel of this
machine counts, with made-up powers. They say nothing about the energy that
this machine really uses.
`

// energyWidth is the fixed width of energy_uj: leading zeros, no shrinking.
// The eight low digits, which change at every write, lie in one aligned word
// of the file, which the kernel copies in one piece.
const energyWidth = 16

// zone is one powercap zone: a folder with an energy_uj that grows.
type zone struct {
	fd    int
	start uint64 // µJ shown at first
	size  uint64 // the range plus 1: the counter runs modulo this
	buf   [energyWidth + 1]byte
}

// set shows the energy since the start, in µJ, in one write to the file that
// readers may have kept open.
func (z *zone) set(uj uint64) error {
	v := (z.start%z.size + uj%z.size) % z.size
	for i := energyWidth - 1; i >= 0; i-- {
		z.buf[i] = byte('0' + v%10)
		v /= 10
	}
	z.buf[energyWidth] = '\n'
	if _, err := unix.Pwrite(z.fd, z.buf[:], 0); err != nil {
		return fmt.Errorf("write energy_uj: %w", err)
	}
	return nil
}

// zones are the zones of one package; dram is nil without --dram.
type zones struct{ pkg, core, dram *zone }

// tree is the fake root of /sys.
type tree struct {
	root     string
	lock     *os.File
	packages []zones
}

// newTree makes the tree for the machine's packages. An existing folder is
// used if it is empty or was made by powersim and no other one runs in it.
// The caller must call close; the files stay.
func newTree(cfg config, m *machine) (*tree, error) {
	t := &tree{root: cfg.dir}
	if err := t.claim(); err != nil {
		return nil, err
	}
	err := t.writeCPUs(m)
	if err == nil {
		err = t.writePowercap(cfg, m)
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("make the tree: %w", err)
	}
	return t, nil
}

// claim makes sure that the folder is ours and removes an older tree.
func (t *tree) claim() error {
	if err := os.MkdirAll(t.root, 0o755); err != nil {
		return fmt.Errorf("make the tree: %w", err)
	}
	mark := filepath.Join(t.root, "SIMULATED")
	if _, err := os.Stat(mark); err != nil {
		entries, err := os.ReadDir(t.root)
		if err != nil {
			return fmt.Errorf("look into the tree: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s is neither empty nor made by powersim", t.root)
		}
	}
	lock, err := os.OpenFile(mark, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("mark the tree: %w", err)
	}
	t.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.close()
		return fmt.Errorf("another powersim runs in %s: %w", t.root, err)
	}
	if _, err := lock.WriteAt([]byte(simulatedText), 0); err != nil {
		t.close()
		return fmt.Errorf("mark the tree: %w", err)
	}
	for _, name := range []string{"class/powercap", "devices/virtual/powercap", "devices/system/cpu"} {
		if err := os.RemoveAll(filepath.Join(t.root, name)); err != nil {
			t.close()
			return fmt.Errorf("remove an older tree: %w", err)
		}
	}
	return nil
}

// writeCPUs writes the machine's CPU numbers with their simulated packages.
func (t *tree) writeCPUs(m *machine) error {
	cpus := filepath.Join(t.root, "devices/system/cpu")
	if err := writeFiles(cpus, 0o444, map[string]string{
		"online": m.online, "possible": m.possible, "present": m.present,
	}); err != nil {
		return err
	}
	for p, members := range m.packages {
		for core, cpu := range members {
			dir := filepath.Join(cpus, "cpu"+strconv.Itoa(cpu), "topology")
			if err := writeFiles(dir, 0o444, map[string]string{
				"physical_package_id":  strconv.Itoa(p),
				"core_id":              strconv.Itoa(core),
				"package_cpus_list":    formatCPUs(members),
				"core_siblings_list":   formatCPUs(members),
				"core_cpus_list":       strconv.Itoa(cpu),
				"thread_siblings_list": strconv.Itoa(cpu),
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// writePowercap makes the zones where the kernel has them, and the links in
// class/powercap by which they are found.
func (t *tree) writePowercap(cfg config, m *machine) error {
	const control = "intel-rapl"
	if err := t.addDevice(control, map[string]string{"enabled": "1"}); err != nil {
		return err
	}
	for p, members := range m.packages {
		// The largest power that the package can have, and as much again: the
		// kernel books CPU time in portions, so short intervals show more.
		most := 2 * (uint64(cfg.power.floor) + uint64(len(members))*uint64(cfg.power.perCore))
		name := fmt.Sprintf("%s:%d", control, p)
		zs := zones{}
		var err error
		if zs.pkg, err = t.addZone(filepath.Join(control, name), fmt.Sprintf("package-%d", p), most, cfg); err != nil {
			return err
		}
		if zs.core, err = t.addZone(filepath.Join(control, name, name+":0"), "core", 0, cfg); err != nil {
			return err
		}
		if cfg.dram {
			if zs.dram, err = t.addZone(filepath.Join(control, name, name+":1"), "dram", 0, cfg); err != nil {
				return err
			}
		}
		t.packages = append(t.packages, zs)
	}
	return nil
}

// addDevice makes a device folder with files, and the link to it.
func (t *tree) addDevice(path string, files map[string]string) error {
	if err := writeFiles(filepath.Join(t.root, "devices/virtual/powercap", path), 0o444, files); err != nil {
		return err
	}
	class := filepath.Join(t.root, "class/powercap")
	if err := os.MkdirAll(class, 0o755); err != nil {
		return err
	}
	return os.Symlink(filepath.Join("../../devices/virtual/powercap", path), filepath.Join(class, filepath.Base(path)))
}

// addZone makes a zone. With maxPower, in µW, it also has a power limit.
func (t *tree) addZone(path, name string, maxPower uint64, cfg config) (*zone, error) {
	files := map[string]string{
		"name": name, "enabled": "1",
		"max_energy_range_uj": strconv.FormatUint(cfg.rangeUJ, 10),
	}
	if maxPower > 0 {
		files["constraint_0_name"] = "long_term"
		files["constraint_0_max_power_uw"] = strconv.FormatUint(maxPower, 10)
		files["constraint_0_power_limit_uw"] = strconv.FormatUint(maxPower, 10)
		files["constraint_0_time_window_us"] = "999424"
	}
	// Like the kernel's since 5.10, the counter is for root alone. It is
	// complete before the link makes it visible.
	dir := filepath.Join(t.root, "devices/virtual/powercap", path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	counter := filepath.Join(dir, "energy_uj")
	fd, err := unix.Open(counter, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", counter, err)
	}
	z := &zone{fd: fd, start: cfg.startUJ, size: cfg.rangeUJ + 1}
	if err := z.set(0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := t.addDevice(path, files); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return z, nil
}

// writeFiles writes files of one line into dir, which is made if need be.
func writeFiles(dir string, mode os.FileMode, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), mode); err != nil {
			return err
		}
	}
	return nil
}

// close closes the counters and lets another powersim use the folder.
func (t *tree) close() {
	for _, zs := range t.packages {
		for _, z := range []*zone{zs.pkg, zs.core, zs.dram} {
			if z != nil {
				unix.Close(z.fd)
			}
		}
	}
	if t.lock != nil {
		t.lock.Close()
	}
}
