package benchhybrid

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"crayon/internal/fault"
)

// Names of RouterBench's columns (Hu et al. 2024, arXiv:2403.12031; published as
// routerbench_0shot.pkl, a pandas frame of a row a query; made by the project's
// convertors/common.py). A model has a column of its score, named as it is, and
// two more.
const (
	benchResponse = "|model_response"
	benchCost     = "|total_cost"
	benchOracle   = "oracle_model_to_route_to"
	benchNoModel  = "no_model_correct" // of the oracle's column
)

// benchRow is a row of the table: values by column, in the columns' order.
type benchRow struct {
	columns []string
	values  []any // string or float64
}

// benchRows are crayon's decisions in RouterBench's columns. Prompts and answers
// are texts of lists of one string, as there; the oracle is the cheapest model
// with the largest score. Two more columns are the decisions, in the form that
// RouterBench's evaluation gives a router: the model it sends the query to, and
// what that costs.
func benchRows(d *Decisions, prompts map[string]string, device, server string) ([]benchRow, error) {
	router := fmt.Sprintf("%s|share_sent:%s", crayonRouter, strconv.FormatFloat(d.share, 'g', -1, 64))
	columns := []string{"sample_id", "prompt", "eval_name", device, server, device + benchResponse, server + benchResponse,
		device + benchCost, server + benchCost, benchOracle, router, router + benchCost}
	seen := map[string]int{}
	out := make([]benchRow, 0, len(d.rows))
	for i := range d.rows {
		r := &d.rows[i]
		key := PromptKey(r.User, r.Dataset, r.ID)
		id := key
		if seen[key]++; seen[key] > 1 { // a sample_id is one row's there
			id += "#" + strconv.Itoa(seen[key])
		}
		lists := [3]string{}
		for k, text := range []string{prompts[key], letterOf(r.Picks[Custom]), letterOf(r.Server[d.asked])} {
			var err error
			if lists[k], err = listOf(text); err != nil {
				return nil, err
			}
		}
		price := d.price(i)
		oracle := benchNoModel
		switch right, other := d.device[i] > 0, d.server[i] > 0; {
		case right: // at no cost
			oracle = device
		case other:
			oracle = server
		}
		to, cost := device, 0.0
		if d.sent[i] {
			to, cost = server, price
		}
		out = append(out, benchRow{columns, []any{id, lists[0], r.Dataset, d.device[i], d.server[i], lists[1], lists[2], 0.0, price, oracle, to, cost}})
	}
	return out, nil
}

// listOf is a list of one text, as both JSON and Python write it.
func listOf(text string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode([]string{text})
	return strings.TrimSuffix(b.String(), "\n"), err
}

// WriteRouterBench writes crayon's decisions as RouterBench's table: CSV, or with
// lines JSON lines, that pandas reads into a frame of its columns.
func WriteRouterBench(w io.Writer, d *Decisions, prompts map[string]string, device, server string, lines bool) error {
	fail := func(err error) error { return &fault.Error{Op: "export decisions", Err: err} }
	rows, err := benchRows(d, prompts, device, server)
	if err != nil {
		return fail(err)
	}
	if lines {
		for i := range rows {
			text, err := rows[i].object()
			if err == nil {
				_, err = w.Write(text)
			}
			if err != nil {
				return fail(err)
			}
		}
		return nil
	}
	cw := csv.NewWriter(w)
	for i := range rows {
		if i == 0 {
			if err := cw.Write(rows[i].columns); err != nil {
				return fail(err)
			}
		}
		if err := cw.Write(rows[i].cells()); err != nil {
			return fail(err)
		}
	}
	if cw.Flush(); cw.Error() != nil {
		return fail(cw.Error())
	}
	return nil
}

// cells are the row's values as pandas writes them.
func (r *benchRow) cells() []string {
	out := make([]string, len(r.values))
	for i, v := range r.values {
		switch v := v.(type) {
		case string:
			out[i] = v
		case float64:
			out[i] = decimal(v)
		}
	}
	return out
}

// decimal is a number that is read as no whole one.
func decimal(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// object is the row as one line of JSON, its keys in the columns' order.
func (r *benchRow) object() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i, name := range r.columns {
		b.WriteByte("{,"[min(i, 1)])
		value := r.values[i]
		if x, ok := value.(float64); ok {
			value = json.RawMessage(decimal(x))
		}
		for _, v := range []any{name, value} {
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
			b.Truncate(b.Len() - 1) // the encoder ends a line
			b.WriteByte(':')
		}
		b.Truncate(b.Len() - 1)
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}
