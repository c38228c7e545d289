package agent

type element struct{ plugin, name string }
type elements struct {
	sources    []*sourceElement
	feeds      []*feedElement
	transforms []*transformElement
	outputs    []*outputElement
	closers    []func() error
}
type sourceElement struct {
	element
	Schedule
	src Source
}
type feedElement struct {
	element
	feed Feed
}
type transformElement struct {
	element
	transform Transform
}
type outputElement struct {
	element
	out Output
}
