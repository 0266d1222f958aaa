package pool

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"crayon/internal/gguf"
	"crayon/internal/qa"
)

// DataSet is one source of a pool's training rows.
type DataSet struct {
	Name    string `json:"name"`
	Rows    int    `json:"rows"`
	Licence string `json:"licence"` // as its publisher states it
}

// maxList bounds the lists of a card.
const maxList = 1 << 16

// card reads what a pool says of itself beyond the first version's keys. Files
// of before these keys have none of them.
func (r *reader) card(m *Provenance) {
	names, licences := r.strings("crayon.made.sets.names"), r.strings("crayon.made.sets.licences")
	rows, _ := r.f.Ints("crayon.made.sets.rows")
	if len(names) > maxList || len(rows) != len(names) || len(licences) != len(names) {
		r.fail("crayon.made.sets", "names, rows and licences must be equally many, at most %d", maxList)
		return
	}
	for i := range names {
		if rows[i] < 0 || rows[i] > math.MaxInt32 {
			r.fail("crayon.made.sets.rows", "%d rows of %q", rows[i], names[i])
			return
		}
		m.Sets = append(m.Sets, DataSet{names[i], int(rows[i]), licences[i]})
	}
	m.Device, _ = r.f.String("crayon.made.device")
	m.Program, _ = r.f.String("crayon.made.program")
	m.Files, m.Limits, m.Changes = r.strings("crayon.made.files"), r.strings("crayon.made.limits"), r.strings("crayon.made.changes")
	m.Store, _ = r.f.String("crayon.made.store")
	if _, there := r.f.Value("crayon.made.store_error"); there {
		if m.StoreError = r.float("crayon.made.store_error"); m.StoreError < 0 {
			r.fail("crayon.made.store_error", "%g", m.StoreError)
		}
	}
}

func setCard(b *gguf.Builder, m Provenance) {
	if len(m.Sets) > 0 {
		setSets(b.Set, m.Sets)
	}
	for _, x := range []struct{ key, value string }{{"device", m.Device}, {"program", m.Program}, {"store", m.Store}} {
		if x.value != "" {
			b.Set("crayon.made."+x.key, x.value)
		}
	}
	for _, x := range []struct {
		key    string
		values []string
	}{{"files", m.Files}, {"limits", m.Limits}, {"changes", m.Changes}} {
		if len(x.values) > 0 {
			b.Set("crayon.made."+x.key, x.values)
		}
	}
	if m.StoreError > 0 {
		b.Set("crayon.made.store_error", float32(m.StoreError))
	}
}

func setSets(set func(string, any), sets []DataSet) {
	var names, licences []string
	var rows []int32
	for _, s := range sets {
		names, rows, licences = append(names, s.Name), append(rows, int32(s.Rows)), append(licences, s.Licence)
	}
	set("crayon.made.sets.names", names)
	set("crayon.made.sets.rows", rows)
	set("crayon.made.sets.licences", licences)
}

// DataSets are the sources with rows and licence each. Of a file that only has
// them in words ("arc_easy: 650 rows"), the licences are the catalogue's.
func (m *Provenance) DataSets() []DataSet {
	if len(m.Sets) > 0 {
		return m.Sets
	}
	var sets []DataSet
	for _, line := range m.Data {
		name, rest, ok := strings.Cut(line, ": ")
		rows, err := strconv.Atoi(strings.TrimSuffix(rest, " rows"))
		if !ok || err != nil {
			rows = 0
		}
		sets = append(sets, DataSet{name, rows, qa.About(name).Licence})
	}
	return sets
}

// LicenceNote says in a sentence what the licence of each data set asks of who
// passes the pool on: what asks most first. It is no legal advice.
func (m *Provenance) LicenceNote() string {
	type kind struct {
		says string
		of   func(licence string) bool
	}
	kinds := []kind{
		{says: "share-alike terms cover", of: func(l string) bool { return slices.Contains(licenceWords(l), "SA") }},
		{says: "non-commercial terms cover", of: func(l string) bool { return slices.Contains(licenceWords(l), "NC") }},
		{says: "no licence is stated for", of: func(l string) bool {
			l = strings.ToLower(l)
			return l == "" || l == "none" || strings.Contains(l, "none stated") || strings.Contains(l, "unstated") || strings.Contains(l, qa.Unknown)
		}},
		{says: "attribution is asked for", of: func(l string) bool {
			w := licenceWords(l)
			return slices.Contains(w, "BY") && !slices.Contains(w, "SA")
		}},
	}
	var parts []string
	told := map[string]bool{}
	for _, k := range append(kinds, kind{"permissive terms cover", func(l string) bool { return !told[l] }}) {
		by := map[string][]string{}
		for _, s := range m.DataSets() {
			if k.of(s.Licence) {
				by[s.Licence] = append(by[s.Licence], s.Name)
			}
		}
		for l := range by {
			told[l] = true
		}
		var groups []string
		for _, licence := range sortedKeys(by) {
			group := strings.Join(by[licence], ", ")
			if licence != "" {
				group += " (" + licence + ")"
			}
			groups = append(groups, group)
		}
		if len(groups) > 0 {
			parts = append(parts, k.says+" "+strings.Join(groups, ", "))
		}
	}
	if len(parts) == 0 {
		return "No data are named."
	}
	return "Of the data, " + strings.Join(parts, "; ") + "."
}

// licenceWords are the parts of a licence's name: "CC BY-SA 4.0" has BY and SA.
func licenceWords(l string) []string {
	return strings.FieldsFunc(strings.ToUpper(l), func(r rune) bool { return r == ' ' || r == '-' || r == '/' || r == ',' })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// WriteCard writes the pool's card as Markdown: what it is, from which data
// under which licences, how it was made, and what it is not for.
func (p *Pool) WriteCard(w io.Writer) error {
	m, f := &p.Made, &p.Feature
	var b strings.Builder
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cells[i])
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	head := func(cells ...string) {
		row(cells...)
		b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
	}
	scaled := ""
	if f.Scale != nil {
		scaled = ", each dimension divided by its deviation"
	}
	head("", "")
	row("name, sha256", fmt.Sprintf("%s, `%s`", p.Name, p.digest))
	row("base model", fmt.Sprintf("%s, file `%.12s`, lineage `%.12s`", p.Base.Name, p.Base.Digest, p.Base.Lineage))
	row("members", fmt.Sprintf("%d, rank %d in all; a customisation keeps the %d blended ones of largest weight", len(p.Members), p.Rank(), p.Keep))
	row("feature", fmt.Sprintf("%s of the %s, at most %d tokens%s; temperature %.4f", f.Name, f.Text, f.MaxTokens, scaled, f.Tau))
	row("trained", m.Trained())
	if m.Program != "" {
		row("program", m.Program)
	}
	stored := StoredText(m)
	if p.size > 0 {
		stored = strings.TrimPrefix(stored+fmt.Sprintf(", %.1f MB in all", float64(p.size)/1e6), ", ")
	}
	if stored != "" {
		row("stored", stored)
	}
	if len(p.Baseline) > 0 {
		var names []string
		for _, name := range sortedKeys(p.Baseline) {
			names = append(names, fmt.Sprintf("%s (rank %d)", name, p.Baseline[name].Rank()))
		}
		row("baselines", strings.Join(names, ", "))
	}
	row("licence of the pool", m.Licence)
	row("licences of the data", m.LicenceNote())
	for _, x := range m.Limits {
		row("not for", x)
	}
	for _, x := range m.Changes {
		row("changed", x)
	}
	b.WriteByte('\n')
	head("data set", "rows", "licence")
	for _, s := range m.DataSets() {
		row(s.Name, fmt.Sprint(s.Rows), s.Licence)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Trained is how the pool was trained, in a line.
func (m *Provenance) Trained() string {
	on := fmt.Sprintf("%d workers", m.Workers)
	if m.Device != "" {
		on = m.Device + ", " + on
	}
	return fmt.Sprintf("%s, %d examples, %d steps, %.0f s on %s, last step's loss %.3f, seed %d", m.Created, m.Examples, m.Steps, m.Seconds, on, m.Loss, m.Seed)
}

// StoredText is the type of the stored sides and what it costs; "" if unknown.
func StoredText(m *Provenance) string {
	switch {
	case m.Store == "":
		return ""
	case m.StoreError == 0:
		return m.Store
	}
	return fmt.Sprintf("%s, %.2f %% from the trained sides (Frobenius norm of the products)", m.Store, 100*m.StoreError)
}

// Missing names what a complete card has and this one lacks.
func (p *Pool) Missing() []string {
	m := &p.Made
	var out []string
	for _, x := range []struct {
		what string
		here bool
	}{
		{"data sets with rows and licences", len(m.Sets) > 0},
		{"licence of the pool", m.Licence != "" && m.Licence != "unstated"},
		{"recipe", m.Recipe != ""},
		{"version of the program", m.Program != ""},
		{"device", m.Device != ""},
		{"figures of the training", m.Loss > 0 && m.Steps > 0 && m.Seconds > 0},
		{"error of the stored sides", m.StoreError > 0 || m.Store == gguf.F32.String()},
		{"limits", len(m.Limits) > 0},
		{"coverage", len(p.Coverage) > 0},
	} {
		if !x.here {
			out = append(out, x.what)
		}
	}
	return out
}
