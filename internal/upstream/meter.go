package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"syscall"

	"github.com/tidwall/gjson"
)

// How the tokens of a call were counted.
const (
	countedUsage = "usage" // as the server says
	countedBytes = "bytes" // the answer was cut or says nothing: from the bytes, more rather than less
	countedMost  = "most"  // what came tells nothing: all that was reserved
	countedNone  = "none"  // it did not reach the model
)

// promptExtra is the tokens that a chat template may add to those of the
// request's own bytes.
const promptExtra = 64

// defaultAnswer is the longest answer, in tokens, where a request sets none.
const defaultAnswer = 4096

// maxChoices bounds the answers that are counted with for one request.
const maxChoices = 1 << 10

// outline is what the gate reads of a chat request.
type outline struct {
	stream    bool
	usage     bool  // a stream is to end with its usage
	choices   int64 // how many answers it asks for, at least 1
	longest   int64 // the longest of each, in tokens; 0: it sets none
	unbounded bool  // it sets none
}

// outlineOf reads a request by the very names that its server reads: Go's own
// reading of JSON would take "Max_Tokens" for max_tokens.
func outlineOf(body []byte) (o outline, most tokens) {
	o = outline{choices: 1, unbounded: true}
	// A body that can't be read is refused by the server or costs the default.
	if gjson.ValidBytes(body) {
		gjson.ParseBytes(body).ForEach(func(name, v gjson.Result) bool {
			switch name.String() {
			case "stream":
				o.stream = v.Type == gjson.True
			case "stream_options":
				o.usage = v.Get("include_usage").Type == gjson.True
			case "max_tokens", "max_completion_tokens":
				if v.Type == gjson.Number && v.Num >= 0 {
					o.unbounded, o.longest = false, max(o.longest, int64(min(math.Ceil(v.Num), maxTokens)))
				}
			case "n":
				if v.Type == gjson.Number && v.Num > 1 {
					o.choices = int64(min(math.Ceil(v.Num), maxChoices))
				}
			}
			return true
		})
	}
	out := o.longest
	if o.unbounded {
		out = defaultAnswer
	}
	out *= o.choices
	// Every token is at least a byte.
	return o, tokens{in: int64(len(body)) + promptExtra, out: min(out, maxTokens)}
}

var errTooMany = errors.New("more tokens than asked for")

// meter counts an answer's tokens as its bytes pass.
type meter struct {
	most      tokens // reserved
	unbounded bool   // the request set no longest answer
	stream    bool   // the answer is events
	choices   int64  // how many answers were asked for
	line      bytes.Buffer
	long      bool

	usage    *tokens
	whole    bool           // usage is that of the whole answer
	text     int64          // bytes of text, of tool calls too
	pieces   int64          // events with text
	finished map[int64]bool // answers that came to their end
}

func newMeter(body []byte) *meter {
	o, most := outlineOf(body)
	return &meter{most: most, unbounded: o.unbounded, stream: o.stream, choices: o.choices}
}

// maxEvent bounds an event that is read for its counts, in bytes.
const maxEvent = 1 << 20

// maxAnswerBody bounds an answer that is no stream, likewise.
const maxAnswerBody = 16 << 20

// Slack of a stream that is longer than was asked for, before it is cut: some
// servers send a token in several pieces.
const (
	slackPieces  = 64
	bytesAToken  = 64
	slackOfBytes = 4096
)

// write counts bytes of the answer and says how many of them may pass: all,
// unless they are more than was asked for.
func (m *meter) write(p []byte) (int, error) {
	if m == nil {
		return len(p), nil
	}
	size := len(p)
	if !m.stream {
		if m.line.Len()+len(p) <= maxAnswerBody {
			m.line.Write(p)
		} else {
			m.long = true
		}
		return size, nil
	}
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if m.line.Len()+len(line) <= maxEvent {
			m.line.Write(line)
		} else {
			m.long = true
		}
		if !whole {
			break
		}
		p = rest
		m.event()
		m.line.Reset()
		m.long = false
		if !m.unbounded && (m.pieces > m.most.out+slackPieces || m.text > bytesAToken*m.most.out+slackOfBytes) {
			return size - len(p), errTooMany
		}
	}
	return size, nil
}

func (m *meter) event() {
	data, ok := bytes.CutPrefix(bytes.TrimSpace(m.line.Bytes()), []byte("data:"))
	if !ok {
		return
	}
	if m.long {
		m.text += maxEvent
		m.pieces++
		return
	}
	m.count(data)
}

// count reads an event, or the whole of an answer that is no stream.
func (m *meter) count(data []byte) {
	var c struct {
		Usage *struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
			Total      int64 `json:"total_tokens"`
		} `json:"usage"`
		Choices []struct {
			Index   int64           `json:"index"`
			Finish  *string         `json:"finish_reason"`
			Delta   json.RawMessage `json:"delta"`
			Message json.RawMessage `json:"message"`
		} `json:"choices"`
	}
	if json.Unmarshal(data, &c) != nil {
		return
	}
	if u := c.Usage; u != nil && u.Prompt >= 0 && u.Completion >= 0 && u.Prompt <= maxTokens && u.Completion <= maxTokens && max(u.Total, u.Prompt+u.Completion) > 0 {
		t := tokens{u.Prompt, max(u.Completion, min(u.Total, maxTokens)-u.Prompt)}
		if m.usage != nil {
			t = tokens{max(t.in, m.usage.in), max(t.out, m.usage.out)}
		}
		m.usage = &t
		m.whole = m.whole || !m.stream || len(c.Choices) == 0
	}
	for _, x := range c.Choices {
		if x.Finish != nil && *x.Finish != "" {
			if m.finished == nil {
				m.finished = map[int64]bool{}
			}
			m.finished[x.Index] = true
		}
		n := int64(0)
		for _, raw := range []json.RawMessage{x.Delta, x.Message} {
			var v any
			if len(raw) > 0 && json.Unmarshal(raw, &v) == nil {
				n += textOf(v)
			}
		}
		if n > 0 {
			m.text += n
			m.pieces++
			m.whole = m.whole && !m.stream // what came before it counted less
		}
	}
}

// textOf is the bytes of the strings of a message, its role aside.
func textOf(v any) (n int64) {
	switch v := v.(type) {
	case string:
		return int64(len(v))
	case []any:
		for _, x := range v {
			n += textOf(x)
		}
	case map[string]any:
		for k, x := range v {
			switch k {
			case "role", "id", "type":
			default:
				n += textOf(x)
			}
		}
	}
	return n
}

// spent is what a call cost, and how that is known, once its response has ended
// (status 0: there was none, for cause). It is never less than what is known to
// have come.
func (m *meter) spent(status int, cause error) (tokens, string) {
	switch {
	case status == 0 && unconnected(cause):
		return tokens{}, countedNone
	case status == 0:
		return m.most, countedMost
	case status == http.StatusServiceUnavailable, status == http.StatusNotImplemented, status >= 300 && status < 500:
		return tokens{}, countedNone
	case status >= 300:
		return m.most, countedMost
	}
	if !m.stream && !m.long {
		m.count(m.line.Bytes())
		m.line.Reset()
	}
	// A token is at least a byte, and of an answer that was bounded no more
	// than the bound is due.
	byBytes := tokens{m.most.in, m.text}
	if !m.unbounded {
		byBytes.out = min(m.text, m.most.out)
	}
	switch {
	case m.usage != nil && len(m.finished) > 0 && (m.whole || int64(len(m.finished)) >= m.choices):
		return *m.usage, countedUsage
	case m.usage != nil:
		return tokens{max(m.usage.in, byBytes.in), max(m.usage.out, byBytes.out)}, countedBytes
	case m.text > 0 || len(m.finished) > 0:
		return byBytes, countedBytes
	}
	return m.most, countedMost
}

// unconnected says whether a request surely never left.
func unconnected(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) || errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &op) && op.Op == "dial"
}
