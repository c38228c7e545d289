package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
)

// resolve finds the type that a key is decoded into.
func resolve(t reflect.Type, path []string) (reflect.Type, bool) {
	for _, name := range path {
		t = inner(t)
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			f, ok := fieldOf(t, name)
			if !ok {
				return nil, false
			}
			t = f.Type
		default:
			return nil, false
		}
	}
	return t, true
}

// inner takes pointers and lists away.
func inner(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		t = t.Elem()
	}
	return t
}

// fieldOf finds the field of a key. Like the TOML library it is content with another case of letters.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	var folded reflect.StructField
	found := false
	for _, f := range fieldsOf(t) {
		switch tag := parseTag(f); {
		case tag.name == name:
			return f, true
		case strings.EqualFold(tag.name, name):
			folded, found = f, true
		}
	}
	return folded, found
}

// fieldsOf lists the fields of a struct that are keys, in their order, those of embedded structs included.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var list []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		tag := parseTag(f)
		if !f.IsExported() || tag.name == "-" || f.Anonymous && f.Tag.Get("toml") == "" {
			continue
		}
		list = append(list, f)
	}
	return list
}

// tag is what a field's tags say.
type tag struct {
	name      string
	comment   string
	omitEmpty bool
	commented bool
}

func parseTag(f reflect.StructField) tag {
	name, options, _ := strings.Cut(f.Tag.Get("toml"), ",")
	if name == "" {
		name = f.Name
	}
	t := tag{name: name, comment: f.Tag.Get("comment")}
	for o := range strings.SplitSeq(options, ",") {
		t.omitEmpty = t.omitEmpty || o == "omitempty" || o == "omitzero"
		t.commented = t.commented || o == "commented"
	}
	return t
}

// keysOf lists the keys that a table of a type may have.
func keysOf(t reflect.Type) []string {
	var list []string
	if t = inner(t); t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t) {
			list = append(list, parseTag(f).name)
		}
	}
	return list
}

// isText tells whether a type is written as text although it is no string: a duration, for example.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// describe says what is wanted for a type.
func describe(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[Duration]():
		return `a duration such as "1s" or "150ms"`
	case t == reflect.TypeFor[Size]():
		return `a size such as "100MB"`
	case isText(t):
		return "a text in quotes"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		if e := inner(t); e.Kind() != reflect.Struct {
			return "a list, each of it " + describe(e)
		}
		return "a list of tables"
	case reflect.Struct, reflect.Map:
		return "a table"
	}
	return "a whole number"
}

// article puts an article before the TOML library's word for a kind of value.
func article(kind string) string {
	switch {
	case kind == "string":
		return "a text"
	case strings.IndexByte("aeiou", kind[0]) >= 0:
		return "an " + kind
	}
	return "a " + kind
}

// hint suggests the known name that is nearest to a wrong one, or lists what is known.
func hint(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return `; did you mean "` + best + `"?`
	}
	if len(known) == 0 || len(known) > 40 {
		return ""
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return "; known are " + strings.Join(known, ", ")
}

// nearest returns the known name that a wrong one can be turned into with the fewest edits, if those are few.
func nearest(name string, known []string) string {
	best, fewest := "", max(2, len(name)/3)+1
	for _, k := range known {
		if n := edits(strings.ToLower(name), strings.ToLower(k)); n < fewest && n < len(name) {
			best, fewest = k, n
		}
	}
	return best
}

// edits counts the letters to insert, delete, replace or exchange with a neighbour to turn a into b.
func edits(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := rows[(i+3)%3], rows[(i+1)%3], rows[(i+2)%3]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
