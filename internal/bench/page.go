package bench

import (
	_ "embed"
	"html/template"
	"io"

	"crayon/internal/fault"
)

//go:embed page.html
var sectionsText string

var sections = template.Must(template.Must(parts.Clone()).New("page").Parse(sectionsText))

// Page is a report as one page that needs nothing else, in the form of the
// benchmark's own.
type Page struct {
	Title, Lead, Note string
	Sections          []PageSection
	Digests           [][2]string // name, sha256
	Notes             []string
	Footer            string
}

// PageSection is a heading with a picture and tables under it.
type PageSection struct {
	Title, Note string
	Picture     template.HTML
	Tables      []PageTable
}

// PageTable is a table that sorts; rows are as long as its head.
type PageTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

// Series are the curves that have a colour.
func (p *Page) Series() []int {
	out := make([]int, seriesColours)
	for i := range out {
		out[i] = i
	}
	return out
}

// seriesColours is how many colours of curves the pages' style has.
const seriesColours = 8

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	if err := sections.Execute(w, p); err != nil {
		return &fault.Error{Op: "write report", Err: err}
	}
	return nil
}
