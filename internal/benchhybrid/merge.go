package benchhybrid

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// Input is a file whose rows are judged again, alone or with others': its rows
// may be answered by a server of their own.
type Input struct {
	File    string            `json:"file"` // the report, or the raw file
	Rows    int               `json:"rows"` // that were taken from it
	Servers []string          `json:"server_models"`
	Digests map[string]string `json:"digests,omitempty"` // of a report
	Run     map[string]any    `json:"run,omitempty"`
}

// ReadInputs reads raw files, and reports with the rows that they name, and makes
// of them the rows and a report without figures. Rows that do not name their
// server have that of their report, else model, else, of several files, the name
// of theirs. Two files may not hold answers to the same row, which would count
// twice, nor reports be of different devices; a row that one file has without an
// answer is taken from the other.
func ReadInputs(paths []string, model string) ([]Row, *Report, error) {
	var rows []Row
	var inputs []Input
	out := &Report{Benchmark: Kind, Digests: map[string]string{}, Run: map[string]any{}, Notes: []string{}}
	type place struct{ input, row int }
	known := map[string]place{}
	for _, path := range paths {
		fail := func(err error, hint string) ([]Row, *Report, error) {
			return nil, nil, &fault.Error{Op: "read rows to judge", Path: path, Err: err, Exit: fault.ExitUsage, Hint: hint}
		}
		in := Input{File: filepath.Base(path)}
		got, report, err := readInput(path)
		if err != nil {
			return nil, nil, err
		}
		server := model
		if report != nil {
			in.Digests, in.Run = report.Digests, report.Run
			if server == "" && !strings.Contains(report.Model, modelSeparator) {
				server = report.Model
			}
			for name, digest := range report.Digests {
				if was := out.Digests[name]; name == "model" && was != "" && was != digest {
					return fail(fmt.Errorf("the device is another model, %.12s, than that of the files before, %.12s", digest, was), "judge the files one at a time")
				}
				if name != "raw" {
					out.Digests[name] = digest
				}
			}
			for _, note := range report.Notes {
				if !slices.Contains(out.Notes, note) {
					out.Notes = append(out.Notes, note)
				}
			}
		}
		if server == "" && len(paths) > 1 {
			server, _, _ = strings.Cut(in.File, ".")
		}
		at := len(inputs)
		for _, r := range got {
			if r.Model == "" {
				r.Model = server
			}
			answered := len(r.Server) > 0
			if answered && r.Model != "" && !slices.Contains(in.Servers, r.Model) {
				in.Servers = append(in.Servers, r.Model)
			}
			key := PromptKey(r.User, r.Dataset, r.ID)
			switch before, ok := known[key]; {
			case !ok || before.input == at:
				known[key] = place{at, len(rows)}
				rows = append(rows, r)
			case !answered:
				continue
			case len(rows[before.row].Server) > 0:
				return fail(fmt.Errorf("row %s is answered in %s too", key, inputs[before.input].File), "judge the answers of two servers to the same rows one at a time")
			default:
				inputs[before.input].Rows--
				rows[before.row], known[key] = r, place{at, before.row}
			}
			in.Rows++
		}
		slices.Sort(in.Servers)
		inputs = append(inputs, in)
	}
	out.Model = ServersOf(rows)
	out.Run["from"] = inputs
	return rows, out, nil
}

// readInput is a report with its rows, or the rows of a raw file alone.
func readInput(path string) ([]Row, *Report, error) {
	if IsReport(path) {
		report, rows, err := ReadReport(path)
		return rows, report, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, &fault.Error{Op: "read raw rows", Path: path, Err: errors.Unwrap(err), Exit: fault.ExitUsage}
	}
	rows, err := ReadRows(path, file)
	return rows, nil, errors.Join(err, file.Close())
}

// modelSeparator stands between the names of several servers.
const modelSeparator = " + "

// ServersOf names the servers that answered rows.
func ServersOf(rows []Row) string {
	names := map[string]bool{}
	for i := range rows {
		if rows[i].Model != "" && len(rows[i].Server) > 0 {
			names[rows[i].Model] = true
		}
	}
	return strings.Join(sortedKeys(names), modelSeparator)
}
