package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon"
	"crayon/internal/bench"
	"crayon/internal/config"
	"crayon/internal/pull"
	"crayon/internal/qa"
)

// sources make the text of a marker from its argument.
var sources = map[string]func(root, arg string) (string, error){
	"bench":       benchTable,
	"hybrid":      hybridTable,
	"hybridbrief": hybridBrief,
	"hybridsides": hybridSides,
	"full":        benchFull,
	"brief":       benchBrief,
	"shots":       benchShots,
	"demo":        demoTable,
	"pool":        poolCard,
	"members":     poolMembers,
	"data":        dataTable,
	"models":      modelTable,
	"settings":    settingTable,
	"peer":        peerTable,
}

// result reads bench/results/NAME.json into v; here is false when it is not there.
func result(root, name string, v any) (here bool, err error) {
	data, err := os.ReadFile(filepath.Join(root, "bench", "results", name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, v)
}

func missing(name, command string) string {
	return fmt.Sprintf("No result is committed yet. `%s` writes `bench/results/%s.json`.", command, name)
}

type table struct{ strings.Builder }

func (t *table) row(cells ...string) { fmt.Fprintf(t, "| %s |\n", strings.Join(cells, " | ")) }
func (t *table) head(cells ...string) {
	t.row(cells...)
	t.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

// accuracies has a row a strategy, with its accuracy in each section.
func (t *table) accuracies(sections []*bench.Section, names []string) {
	for _, name := range names {
		t.measured(name, sections, func(c *bench.Section) string {
			f := c.Macro[name]
			if f == nil {
				return ""
			}
			return fmt.Sprintf("%.3f [%.3f, %.3f]", f.Accuracy, f.Low, f.High)
		})
	}
}

// differences has a row a pair "a-b", with the difference in each section.
func (t *table) differences(sections []*bench.Section, pairs []string) {
	for _, pair := range pairs {
		t.measured(strings.Replace(pair, "-", " minus ", 1), sections, func(c *bench.Section) string {
			d := c.Differences[pair]
			if d == nil {
				return ""
			}
			return fmt.Sprintf("%+.3f [%+.3f, %+.3f]", d.Difference, d.Low, d.High)
		})
	}
}

// measured adds a row with a cell a section, "-" where it was not measured;
// none where the first section lacks it.
func (t *table) measured(name string, sections []*bench.Section, cell func(*bench.Section) string) {
	row := []string{name}
	for i, c := range sections {
		text := cell(c)
		if i == 0 && text == "" {
			return
		}
		row = append(row, cmp.Or(text, "-"))
	}
	t.row(row...)
}

func readReport(root, name string) (*bench.Report, bool, error) {
	r := &bench.Report{}
	here, err := result(root, name, r)
	return r, here, err
}

const benchCommand = "make bench DATA=FOLDER"

// benchTable is a benchmark's figures by strategy, for all users, those of
// tasks left out of the pool's training, and those of tasks seen there.
func benchTable(root, name string) (string, error) {
	r, here, err := readReport(root, name)
	if err != nil || !here {
		return missing(name, benchCommand), err
	}
	type column struct {
		name string
		s    *bench.Section
	}
	columns := []column{{"new subjects", r.Groups[bench.NewSubject]}, {"new data sets", r.Groups[bench.NewDataset]}, {"of these, folds tuned on", r.Groups[bench.Tuning]},
		{"of these, folds for the report", r.Groups[bench.Reported]}, {"seen in training", r.Groups[bench.Seen]}, {"all", &r.Section}}
	if slices.ContainsFunc(columns[:len(columns)-1], func(c column) bool { return c.s != nil && c.s.Users == r.Users }) {
		columns = columns[:len(columns)-1] // one group is all there is
	}
	head := []string{"accuracy [95 %]"}
	var sections []*bench.Section
	for _, c := range columns {
		if c.s != nil {
			of := c.s.Datasets
			name := c.name
			if len(of) > 0 && len(of) <= 6 {
				name += ": " + strings.Join(of, ", ")
			}
			head = append(head, fmt.Sprintf("%s (%d users, %d rows)", name, c.s.Users, c.s.Rows))
			sections = append(sections, c.s)
		}
	}
	t := &table{}
	t.head(head...)
	t.accuracies(sections, r.Settings.Strategies)
	t.differences(sections, []string{"blend-base", "blend-single", "blend-swapped", "blend-uniform", "blend_pmi-blend", "chosen_unlabelled-single", "chosen_unlabelled-swapped",
		"chosen-base", "chosen-chosen_unlabelled", "chosen-single", "chosen-blend", "chosen-majority", "chosen-knn"})
	day, _, _ := strings.Cut(r.Environment.Date, "T")
	fmt.Fprintf(t, "\n%d examples a user; %s; %s; `bench/results/%s.json`, %s.\n", r.Headline, machine(r), day, name, poolsOf(r))
	return t.String(), nil
}

// benchBrief is the README's table: the strategies a user would weigh, on tasks
// left out of the pools' training (report NAME-left-out) and on tasks seen there
// (report NAME).
func benchBrief(root, arg string) (string, error) {
	names := []string{arg + "-left-out", arg}
	left, here, err := readReport(root, names[0])
	if err != nil || !here {
		return missing(names[0], benchCommand), err
	}
	seen, here, err := readReport(root, names[1])
	if err != nil || !here {
		return missing(names[1], benchCommand), err
	}
	sections := []*bench.Section{left.Groups[bench.LeftOut], left.Groups[bench.Reported], seen.Groups[bench.Seen]}
	if slices.Contains(sections, nil) {
		return "", fmt.Errorf("%s lacks a group that the table needs", arg)
	}
	t := &table{}
	t.head("accuracy [95 %]", fmt.Sprintf("tasks of families never trained on (%d users)", sections[0].Users),
		fmt.Sprintf("of these, folds that nothing was tuned on (%d)", sections[1].Users), fmt.Sprintf("tasks seen in training (%d)", sections[2].Users))
	t.accuracies(sections, []string{"chance", "majority", "base", "shots5", "single", "swapped", "blend", "chosen_unlabelled", "chosen"})
	t.differences(sections, []string{"chosen-base", "chosen-single", "chosen-shots5", "chosen-chosen_unlabelled", "chosen_unlabelled-single", "chosen_unlabelled-swapped", "blend-single", "blend-swapped"})
	day, _, _ := strings.Cut(left.Environment.Date, "T")
	fmt.Fprintf(t, "\n%d examples a user; scored on %s; %s; `bench/results/%s.json` and `%s.json`.\n", left.Headline, machine(left), day, names[0], names[1])
	return t.String(), nil
}

// benchShots compares numbers of examples on the users that every one of the
// reports NAME-k0-left-out, NAME-k4-left-out, NAME-left-out and NAME-k64-left-out
// has.
func benchShots(root, arg string) (string, error) {
	var columns [][]bench.Sheet
	users := map[string]int{}
	t, head := &table{}, []string{"accuracy [95 %]"}
	var seed uint64
	var resamples int
	for _, name := range []string{arg + "-k0-left-out", arg + "-k4-left-out", arg + "-left-out", arg + "-k64-left-out"} {
		if _, here, err := readReport(root, name); err != nil || !here {
			return missing(name, benchCommand), err
		}
		r, sheets, err := bench.ReadReport(filepath.Join(root, "bench", "results", name+".json"))
		if err != nil {
			return "", err
		}
		draws := ""
		if r.Draws > 1 {
			draws = fmt.Sprintf(" (%d draws)", r.Draws)
		}
		head = append(head, fmt.Sprintf("%d examples%s", r.Headline, draws))
		columns, seed, resamples = append(columns, sheets), r.Settings.Seed, r.Settings.Resamples
		seen := map[string]bool{}
		for _, s := range sheets {
			if !seen[s.User] {
				seen[s.User] = true
				users[s.User]++
			}
		}
	}
	var sections []*bench.Section
	for i, sheets := range columns {
		columns[i] = slices.DeleteFunc(sheets, func(s bench.Sheet) bool { return users[s.User] < len(columns) })
		sections = append(sections, &bench.Summarise(columns[i], seed, resamples).Section)
	}
	t.head(head...)
	t.accuracies(sections, []string{"majority", "knn", "base", "single", "swapped", "blend", "chosen_unlabelled", "stack", "chosen"})
	t.differences(sections, []string{"chosen-single", "chosen-chosen_unlabelled"})
	fmt.Fprintf(t, "\n%d users of %d data sets, left out of their pool's training.\n", sections[0].Users, len(sections[0].Datasets))
	return t.String(), nil
}

// machine is what scored.
func machine(r *bench.Report) string {
	if r.Environment.Device != "" {
		return r.Environment.Device
	}
	return r.Environment.Machine
}

// poolsOf names the pool of a report, or those of a merged one.
func poolsOf(r *bench.Report) string {
	if len(r.Inputs) == 0 {
		return fmt.Sprintf("pool %.12s", r.Digests["pool"])
	}
	var all []string
	for _, in := range r.Inputs {
		all = append(all, fmt.Sprintf("%.12s", in.Digests["pool"]))
	}
	return "pools " + strings.Join(all, ", ")
}

// benchFull is every table of a benchmark.
func benchFull(root, name string) (string, error) {
	r, here, err := readReport(root, name)
	if err != nil || !here {
		return missing(name, benchCommand), err
	}
	var b strings.Builder
	err = r.WriteMarkdown(&b)
	return b.String(), err
}

// demoReport is as much of `crayon demo --json` as is shown.
type demoReport struct {
	Model, Pool string
	Threads     int
	Seconds     float64
	Users       []struct {
		Name      string
		Examples  int
		Customise float64 `json:"customise_seconds"`
		Score     struct{ Base, Customised, Swapped, Rows int }
		Proof     struct{ Verdict string }
	}
	Routing struct {
		In  []any `json:"in_scope"`
		Out []any `json:"out_of_scope"`
		To  int   `json:"in_scope_to_device"`
		Off int   `json:"out_of_scope_to_server"`
	}
}

// demoTable is the scoreboard of `crayon demo`.
func demoTable(root, _ string) (string, error) {
	const command = "bin/crayon demo --json --out bench/results/demo.json"
	r := &demoReport{}
	here, err := result(root, "demo", r)
	if err != nil || !here {
		return missing("demo", command), err
	}
	t := &table{}
	t.head("right of unseen questions", "base", "customised", "swapped", "customised in", "proof on the 16 examples")
	for _, u := range r.Users {
		of := func(n int) string { return fmt.Sprintf("%d/%d", n, u.Score.Rows) }
		t.row("`"+u.Name+".csv`", of(u.Score.Base), of(u.Score.Customised), of(u.Score.Swapped), fmt.Sprintf("%.2f s", u.Customise), u.Proof.Verdict)
	}
	fmt.Fprintf(t, "\nRouting at the shipped thresholds: %d of %d queries in scope stay on the device, %d of %d out of scope go to the server.\n", r.Routing.To, len(r.Routing.In), r.Routing.Off, len(r.Routing.Out))
	fmt.Fprintf(t, "`bench/results/demo.json`: %s, pool %s, %d threads, %.0f s for everything.\n", r.Model, r.Pool, r.Threads, r.Seconds)
	return t.String(), nil
}

// poolCard is what the pool within the program says of itself.
func poolCard(string, string) (string, error) {
	p, err := crayon.OpenPool("")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = p.WriteCard(&b)
	return b.String(), err
}

// poolMembers are the adapters of the pool within the program.
func poolMembers(string, string) (string, error) {
	p, err := crayon.OpenPool("")
	if err != nil {
		return "", err
	}
	t := &table{}
	t.head("adapter", "rank", "examples nearest to it", "most of them from")
	for _, m := range p.Members {
		covers, n := strings.Join(m.Covers, ", "), fmt.Sprint(m.Examples)
		if m.Shared {
			covers, n = "everything: weight 1 for everyone", "all"
		}
		t.row(m.Name, fmt.Sprint(m.Rank), n, covers)
	}
	return t.String(), nil
}

// dataTable is the catalogue of data sets.
func dataTable(string, string) (string, error) {
	t := &table{}
	t.head("data set", "licence as its publisher states it", "family")
	names := slices.Sorted(func(yield func(string) bool) {
		for _, members := range qa.Families() {
			for _, m := range members {
				if !yield(m) {
					return
				}
			}
		}
	})
	for _, name := range names {
		info := qa.About(name)
		t.row(name, info.Licence, info.Family)
	}
	return t.String(), nil
}

// modelTable is the aliases of crayon pull.
func modelTable(string, string) (string, error) {
	t := &table{}
	t.head("alias", "what", "licence", "sha256")
	for _, m := range pull.Aliases() {
		t.row("`"+m.Alias+"`", m.What, m.Licence, "`"+m.SHA256[:12]+"`")
	}
	return t.String(), nil
}

// settingTable is every key of the configuration.
func settingTable(string, string) (string, error) {
	t := &table{}
	t.head("key in crayon.yaml", "variable", "default", "what")
	for _, k := range config.Keys() {
		def := "-"
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		t.row("`"+k.Name+"`", "`"+k.Env()+"`", def, k.Help)
	}
	return t.String(), nil
}
