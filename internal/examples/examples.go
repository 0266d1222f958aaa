// Package examples reads a user's example file: the few questions, with or
// without answers, that a customisation is made from.
package examples

import "io"

// Example is one row of a user's file.
type Example struct {
	Question string
	Answer   string // "" when not Labelled
	Context  string
	Choices  []string // the row's own choices, or the label set in a label task; nil when there are none
	Labelled bool     // Answer is known
	Line     int      // line of the file the row starts on, from 1
}

// Set is a whole example file.
type Set struct {
	Examples []Example
	Labels   []string // the label set, sorted; nil when it is not a label task
	Source   string   // the file's name, "stdin" for standard input
}

// Options settles what the file leaves open.
type Options struct {
	Labels []string // the label set, when the user names it
}

// Read reads an example file; path "-" is standard input.
func Read(path string, opt Options) (*Set, error) { return nil, nil }

// Parse reads examples from r; name is used in errors.
func Parse(name string, r io.Reader, opt Options) (*Set, error) { return nil, nil }

// Labels is the label set of ex, or nil.
func Labels(ex []Example) []string { return nil }

// Template is an example file to start from.
func Template() string { return "" }
