package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// Fields are the names of a JSON object's fields. One that is there twice is an
// error: of which its reader takes, each has its own opinion.
func Fields(body json.RawMessage) ([]string, error) {
	v := gjson.ParseBytes(body)
	if !gjson.ValidBytes(body) || !v.IsObject() {
		return nil, errors.New("not a JSON object")
	}
	var names []string
	var err error
	known := map[string]bool{}
	v.ForEach(func(name, _ gjson.Result) bool {
		n := name.String()
		if known[n] {
			err = fmt.Errorf("field %q is there twice", clean(n, 80))
			return false
		}
		known[n] = true
		names = append(names, n)
		return true
	})
	return names, err
}

// Without is a JSON object without some of its fields, whatever the case of
// their names; no other byte of it changes.
func Without(body json.RawMessage, fields ...string) (json.RawMessage, error) {
	names, err := Fields(body)
	if err != nil {
		return nil, err
	}
	out := []byte(body)
	for _, name := range names {
		if slices.ContainsFunc(fields, func(f string) bool { return strings.EqualFold(f, name) }) {
			if out, err = sjson.DeleteBytes(out, gjson.Escape(name)); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// body is a client's own request, set to this server.
func (s *Server) body(model string, r Request, stream bool) ([]byte, error) {
	body := []byte(r.Body)
	_, err := Fields(r.Body)
	if o := gjson.GetBytes(body, "stream_options"); err == nil && o.IsObject() {
		if _, err = Fields(json.RawMessage(o.Raw)); err != nil {
			err = fmt.Errorf("stream_options: %w", err)
		}
	}
	set := func(name string, v any) {
		if err == nil {
			body, err = sjson.SetBytes(body, name, v)
		}
	}
	set("model", model)
	set("stream", stream)
	if stream {
		set("stream_options.include_usage", true)
	}
	if o, _ := outlineOf(r.Body); o.unbounded && s.gate.budget.bounded(r.Key) {
		set("max_tokens", defaultAnswer)
	}
	if err != nil {
		return nil, &fault.Error{Op: "ask server", Path: "body", Err: err, Exit: fault.ExitUsage}
	}
	return body, nil
}
