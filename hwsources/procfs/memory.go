package procfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// memory is the source of /proc/meminfo.
type memory struct {
	file    *sysfile.File
	buf     []byte
	entries []memoryEntry
}

// memoryEntry is one line of the file that is measured.
type memoryEntry struct {
	key    string
	factor uint64 // bytes per unit of the line
	metric *agent.Metric
}

// newMemory finds out which of the wanted entries there are. Entries in kB become bytes; the others are plain numbers.
func newMemory(s *agent.Setup, f *sysfile.File, keys []string) (*memory, error) {
	m := &memory{file: f}
	data, err := f.ReadGrow(&m.buf)
	if err != nil {
		return nil, err
	}
	var missing []string
	for i, key := range keys {
		if slices.Contains(keys[:i], key) {
			continue
		}
		isKB, ok := unitOf(data, key)
		if !ok {
			missing = append(missing, key)
			continue
		}
		e := memoryEntry{key: key, factor: 1}
		metric := agent.Metric{Name: snakeCase(key), Description: key + " of /proc/meminfo"}
		if isKB {
			e.factor = 1024
			metric.Unit = agent.Unit{Base: agent.Byte}
		}
		e.metric = s.Metric(metric)
		m.entries = append(m.entries, e)
	}
	if len(missing) > 0 {
		s.Log.Warn("the kernel does not tell some of the memory entries", "missing", strings.Join(missing, ", "))
	}
	return m, nil
}

// unitOf tells whether an entry is there and counts kilobytes.
func unitOf(data []byte, key string) (isKB, ok bool) {
	for len(data) > 0 {
		var line []byte
		line, data = sysfile.CutLine(data)
		name, rest := sysfile.CutField(line)
		if strings.TrimSuffix(string(name), ":") != key {
			continue
		}
		_, rest, ok = sysfile.CutUint(rest)
		unit, _ := sysfile.CutField(rest)
		return string(unit) == "kB", ok
	}
	return false, false
}

// Poll implements [agent.Source].
func (m *memory) Poll(b *agent.Batch, now agent.Instant) error {
	data, err := m.file.ReadGrow(&m.buf)
	if err != nil {
		return stays(m.file, err)
	}
	var missing error
	for i := range m.entries {
		e := &m.entries[i]
		v, ok := sysfile.KeyUint(data, e.key)
		if !ok {
			missing = fmt.Errorf("read %s: %w: there is no %s", m.file.Path(), sysfile.ErrSyntax, e.key)
			continue
		}
		b.Add(e.metric, now.Wall, agent.U64(v*e.factor), agent.LocalMachine(), agent.NoConsumer(), nil)
	}
	return missing
}

// snakeCase turns the name of an entry into that of a metric: MemTotal becomes mem_total. A name that has an underscore
// already is only written small.
func snakeCase(name string) string {
	if strings.ContainsRune(name, '_') {
		return strings.ToLower(name)
	}
	var b strings.Builder
	var last rune
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLetter(last) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	return b.String()
}

// stays keeps an error from ending a source: the files of the machine itself are there as long as the machine is.
func stays(f *sysfile.File, err error) error {
	if errors.Is(err, agent.ErrGone) {
		return fmt.Errorf("read %s: it is gone", f.Path())
	}
	return err
}
