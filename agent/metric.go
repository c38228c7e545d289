package agent

import (
	"fmt"
	"strconv"
	"sync"
)

// ValueType is the type of a metric's values.
type ValueType uint8

// The two types of values.
const (
	TypeU64 ValueType = iota
	TypeF64
)

// String returns `U64` or `F64`.
func (t ValueType) String() string {
	if t == TypeF64 {
		return "F64"
	}
	return "U64"
}

// Metric defines what a series of points measures. It is made once by [Setup.Metric] and shared by all its points.
type Metric struct {
	Name        string
	Description string
	Type        ValueType
	Unit        Unit
	// Attributes are the keys that points of this metric may carry, as far as its definition knows; see
	// [Registry.Attributes] for those of all definitions.
	Attributes []string
}

// Registry holds the metrics of one agent, in the order of their registration. It is safe for concurrent use.
type Registry struct {
	mu     sync.RWMutex
	list   []*Metric
	byName map[string]*Metric
	attrs  map[string][]string // by name: of all definitions that share the metric
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{byName: map[string]*Metric{}, attrs: map[string][]string{}}
}

// Add registers m. A name that is registered already with the same unit and type is shared: the first definition stays;
// with another unit or type it is an error that names both.
func (r *Registry) Add(m Metric) (*Metric, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.byName[m.Name]; ok {
		if !compatible(old, &m) {
			return nil, fmt.Errorf("metric %s (%s, %s) is already registered as %s, %s", m.Name, m.Type, m.Unit, old.Type, old.Unit)
		}
		r.attrs[m.Name] = union(r.attrs[m.Name], m.Attributes)
		return old, nil
	}
	return r.insert(m), nil
}

// AddRenamed registers m; a name that is taken by an incompatible metric becomes `<name>_<suffix>`, `<name>_<suffix>_2` and
// so on. It is how metrics of remote agents enter a registry.
func (r *Registry) AddRenamed(m Metric, suffix string) *Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	base := m.Name
	for i := 1; ; i++ {
		old, ok := r.byName[m.Name]
		if !ok {
			return r.insert(m)
		}
		if compatible(old, &m) {
			return old
		}
		m.Name = base + "_" + suffix
		if i > 1 {
			m.Name += "_" + strconv.Itoa(i)
		}
	}
}

// ByName finds a metric.
func (r *Registry) ByName(name string) (*Metric, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.byName[name]
	return m, ok
}

// Attributes returns the keys that points of m may carry, of all definitions that share it. The caller must not change it.
func (r *Registry) Attributes(m *Metric) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.attrs[m.Name]
}

// All returns the metrics in the order of their registration.
func (r *Registry) All() []*Metric {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return append([]*Metric(nil), r.list...)
}

func (r *Registry) insert(m Metric) *Metric {
	p := &m
	r.list = append(r.list, p)
	r.byName[p.Name] = p
	r.attrs[p.Name] = p.Attributes
	return p
}

func compatible(a, b *Metric) bool { return a.Type == b.Type && a.Unit == b.Unit }

func union(a, b []string) []string {
	out := a
next:
	for _, x := range b {
		for _, y := range a {
			if x == y {
				continue next
			}
		}
		out = append(out[:len(out):len(out)], x)
	}
	return out
}
