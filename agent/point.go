package agent

import (
	"slices"
	"strconv"
)

// Value is the number of a measurement: an unsigned 64-bit integer or a 64-bit float, as its [Metric] says.
type Value struct {
	u     uint64
	f     float64
	isF64 bool
}

// U64 makes an integer value.
func U64(v uint64) Value { return Value{u: v} }

// F64 makes a floating-point value.
func F64(v float64) Value { return Value{f: v, isF64: true} }

// Type tells which of the two kinds of number v holds.
func (v Value) Type() ValueType {
	if v.isF64 {
		return TypeF64
	}
	return TypeU64
}

// Float returns v as a float; large integers lose precision.
func (v Value) Float() float64 {
	if v.isF64 {
		return v.f
	}
	return float64(v.u)
}

// Uint returns v as an integer; a float is truncated towards zero and a negative one is 0.
func (v Value) Uint() uint64 {
	if !v.isF64 {
		return v.u
	}
	if v.f <= 0 {
		return 0
	}
	return uint64(v.f)
}

// Append writes v to dst: decimal digits, never an exponent and no trailing zeros.
func (v Value) Append(dst []byte) []byte {
	if !v.isF64 {
		return strconv.AppendUint(dst, v.u, 10)
	}
	return appendFloat(dst, v.f)
}

// String returns v as [Value.Append] writes it.
func (v Value) String() string { return string(v.Append(nil)) }

// Resource is the thing that a measurement is about, usually a piece of hardware. The kinds are those of the user book;
// any other kind is a custom one.
type Resource struct {
	Kind string
	ID   string
}

// Consumer is who used the resource, usually a piece of software.
type Consumer struct {
	Kind string
	ID   string
}

// Kinds of resources and consumers.
const (
	KindLocalMachine = "local_machine" // the whole node; its id is empty
	KindCPUPackage   = "cpu_package"   // id: the physical package
	KindCPUCore      = "cpu_core"      // id: the logical CPU
	KindDRAM         = "dram"          // id: the package it hangs on
	KindGPU          = "gpu"           // id: the PCI bus id
	KindGPUPartition = "gpu_partition" // id: <bus id>/<instance>
	KindProcess      = "process"       // id: the pid
	KindCgroup       = "cgroup"        // id: the path below its mount point, with a leading slash
)

// LocalMachine is the node as a resource.
func LocalMachine() Resource { return Resource{Kind: KindLocalMachine} }

// CPUPackage is a processor package (socket).
func CPUPackage(n int) Resource { return Resource{Kind: KindCPUPackage, ID: strconv.Itoa(n)} }

// CPUCore is one logical CPU.
func CPUCore(n int) Resource { return Resource{Kind: KindCPUCore, ID: strconv.Itoa(n)} }

// DRAM is the memory that hangs on a package.
func DRAM(n int) Resource { return Resource{Kind: KindDRAM, ID: strconv.Itoa(n)} }

// GPU is a graphics processor by its PCI bus id.
func GPU(busID string) Resource { return Resource{Kind: KindGPU, ID: busID} }

// NoConsumer says that the measurement is about the whole node and nobody in particular.
func NoConsumer() Consumer { return Consumer{Kind: KindLocalMachine} }

// Process is a process as a consumer.
func Process(pid int) Consumer { return Consumer{Kind: KindProcess, ID: strconv.Itoa(pid)} }

// Cgroup is a control group as a consumer; path begins with a slash and is relative to the mount point.
func Cgroup(path string) Consumer { return Consumer{Kind: KindCgroup, ID: path} }

// Point is one reading. Its metric, resource, consumer and attributes are made once and shared, so that making a point
// allocates nothing. Time is Unix nanoseconds of the wall clock.
type Point struct {
	Metric   *Metric
	Time     int64
	Value    Value
	Resource Resource
	Consumer Consumer
	Attrs    *Attrs
}

// Batch is a list of points that is filled by sources, edited by transforms and read by outputs. Its owner reuses it:
// whoever wants to keep points copies them.
type Batch struct {
	Points []Point
}

// Add appends one point. attrs may be nil.
func (b *Batch) Add(m *Metric, unixNs int64, v Value, r Resource, c Consumer, attrs *Attrs) {
	b.Points = append(b.Points, Point{Metric: m, Time: unixNs, Value: v, Resource: r, Consumer: c, Attrs: attrs})
}

// Reset empties b and keeps its memory. Old points are cleared so that they hold nothing alive.
func (b *Batch) Reset() {
	clear(b.Points)
	b.Points = b.Points[:0]
}

// Attr is one key and value beside a measurement.
type Attr struct {
	Key   string
	Value AttrValue
}

// Attrs is an ordered set of attributes. It is immutable: points share it. The nil pointer is the empty set.
type Attrs struct {
	list []Attr
}

// NewAttrs makes a set; of two attributes with one key the later one stays, at the place of the first.
func NewAttrs(list ...Attr) *Attrs {
	return (*Attrs)(nil).With(list...)
}

// With returns a new set that has also the given attributes; an existing key gets the new value.
func (a *Attrs) With(list ...Attr) *Attrs {
	out := &Attrs{list: slices.Clone(a.List())}
	for _, x := range list {
		if i := slices.IndexFunc(out.list, func(y Attr) bool { return y.Key == x.Key }); i >= 0 {
			out.list[i].Value = x.Value
		} else {
			out.list = append(out.list, x)
		}
	}
	return out
}

// List returns the attributes in order. The caller must not change them.
func (a *Attrs) List() []Attr {
	if a == nil {
		return nil
	}
	return a.list
}

// Get returns the value of a key.
func (a *Attrs) Get(key string) (AttrValue, bool) {
	for _, x := range a.List() {
		if x.Key == key {
			return x.Value, true
		}
	}
	return AttrValue{}, false
}

// AttrKind is the type of an attribute's value.
type AttrKind uint8

// The types of attribute values.
const (
	AttrU64 AttrKind = iota
	AttrF64
	AttrBool
	AttrString
	AttrListU64
)

// AttrValue is the value of an attribute: a number, a truth value, a string or a list of integers.
type AttrValue struct {
	kind AttrKind
	num  Value
	str  string
	list []uint64
}

// AttrUint makes an integer attribute value.
func AttrUint(v uint64) AttrValue { return AttrValue{kind: AttrU64, num: U64(v)} }

// AttrFloat makes a floating-point attribute value.
func AttrFloat(v float64) AttrValue { return AttrValue{kind: AttrF64, num: F64(v)} }

// AttrBoolean makes a truth value.
func AttrBoolean(v bool) AttrValue {
	a := AttrValue{kind: AttrBool}
	if v {
		a.num = U64(1)
	}
	return a
}

// AttrText makes a string value.
func AttrText(v string) AttrValue { return AttrValue{kind: AttrString, str: v} }

// AttrUints makes a list value; the caller must not change v afterwards.
func AttrUints(v []uint64) AttrValue { return AttrValue{kind: AttrListU64, list: v} }

// Kind tells which type v has.
func (v AttrValue) Kind() AttrKind { return v.kind }

// Num returns the number of an AttrU64, AttrF64 or AttrBool (0 or 1).
func (v AttrValue) Num() Value { return v.num }

// Text returns the string of an AttrString.
func (v AttrValue) Text() string { return v.str }

// Uints returns the list of an AttrListU64; the caller must not change it.
func (v AttrValue) Uints() []uint64 { return v.list }

// Append writes v to dst as outputs without types show it: lists as `[1, 2, 3]`.
func (v AttrValue) Append(dst []byte) []byte {
	switch v.kind {
	case AttrBool:
		return strconv.AppendBool(dst, v.num.u != 0)
	case AttrString:
		return append(dst, v.str...)
	case AttrListU64:
		dst = append(dst, '[')
		for i, x := range v.list {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = strconv.AppendUint(dst, x, 10)
		}
		return append(dst, ']')
	}
	return v.num.Append(dst)
}

// String returns v as [AttrValue.Append] writes it.
func (v AttrValue) String() string { return string(v.Append(nil)) }

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case f > maxFinite:
		return append(dst, "inf"...)
	case f < -maxFinite:
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

const maxFinite = 0x1.fffffffffffffp1023
