package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"crayon/internal/chat"
	"crayon/internal/model"
)

// Bounds of single fields.
const (
	maxTop     = 20   // likeliest tokens at a position
	maxStops   = 16   // stop strings of a completion
	chatStops  = 4    // stop strings of a chat, which the server LLM gets too
	maxChoices = 128  // answers to one chat, as in OpenAI's API
	maxPrompts = 1024 // prompts of one completion request
	maxModel   = 256  // bytes of a model's name
)

// common is what chats and completions share.
type common struct {
	Model         string   `json:"model"`
	Stream        bool     `json:"stream"`
	StreamOptions options  `json:"stream_options"`
	Stop          texts    `json:"stop"`
	Temperature   *float64 `json:"temperature"`
	TopP          *float64 `json:"top_p"`
	TopK          *int     `json:"top_k"`
	MinP          *float64 `json:"min_p"`
	MaxTokens     *int     `json:"max_tokens"`
	Seed          *int64   `json:"seed"`
	N             *int     `json:"n"`
}

type options struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatRequest struct {
	common
	Messages            []message `json:"messages"`
	MaxCompletionTokens *int      `json:"max_completion_tokens"`
	LogProbs            *bool     `json:"logprobs"`
	TopLogProbs         *int      `json:"top_logprobs"`
	Private             bool      `json:"private"`      // it stays here
	Conversation        string    `json:"conversation"` // its id

	GuidedChoice      []string        `json:"guided_choice"`      // vLLM's name: the answer is one of them
	StructuredOutputs json.RawMessage `json:"structured_outputs"` // its newer one: {"choice": [...]}

	choices []string // what the answer is one of; nil: no such list

	needs []string // what only the server LLM can do, by name; nil: the device can answer
}

// own are the fields of a chat request that are for Crayon, and go no further.
var own = []string{"model", "private", "conversation"}

type message struct {
	Role         string          `json:"role"`
	Content      json.RawMessage `json:"content"`
	Refusal      json.RawMessage `json:"refusal"`
	ToolCalls    json.RawMessage `json:"tool_calls"`
	FunctionCall json.RawMessage `json:"function_call"`
}

type completionRequest struct {
	common
	Prompt   prompts `json:"prompt"`
	Echo     bool    `json:"echo"`
	LogProbs *int    `json:"logprobs"`
	BestOf   *int    `json:"best_of"`
}

// texts is a string or a list of strings.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return badField("stop", "stop is neither a string nor a list of strings")
	}
	*t = many
	return nil
}

// prompts are texts, or lists of token ids.
type prompts struct {
	texts []string
	ids   [][]int32 // when texts is nil
}

func (p *prompts) UnmarshalJSON(data []byte) error {
	var one string
	var ids []int32
	switch {
	case string(data) == "null":
	case json.Unmarshal(data, &one) == nil:
		p.texts = []string{one}
	case json.Unmarshal(data, &p.texts) == nil:
	case json.Unmarshal(data, &ids) == nil:
		p.texts, p.ids = nil, [][]int32{ids}
	case json.Unmarshal(data, &p.ids) == nil:
		p.texts = nil
	default:
		return badField("prompt", "prompt is none of: a string, a list of strings, a list of token ids, a list of such lists")
	}
	return nil
}

func (p *prompts) len() int { return len(p.texts) + len(p.ids) }

// beyond are the fields that ask for another answer than the device can give,
// unless their value asks for nothing. In a chat the server LLM gives it; in a
// completion they are refused.
var beyond = map[string]func(json.RawMessage) bool{
	"tools": empty, "tool_choice": anyOf(`"none"`, `"auto"`), "functions": empty, "function_call": anyOf(`"none"`, `"auto"`),
	"response_format": plainText, "modalities": anyOf(`["text"]`), "audio": empty, "web_search_options": refuse,
	"logit_bias": empty, "frequency_penalty": zero, "presence_penalty": zero, "suffix": anyOf(`""`),
	"repetition_penalty": one, "repeat_penalty": one, "typical_p": one, "mirostat": zero, "min_tokens": zero,
	"ignore_eos": anyOf("false"), "grammar": anyOf(`""`), "json_schema": empty, "structured_outputs": empty,
	"guided_json": empty, "guided_regex": anyOf(`""`), "guided_choice": empty, "guided_grammar": anyOf(`""`),
	"lora": empty, "use_beam_search": anyOf("false"), "prompt_logprobs": zero,
}

func refuse(json.RawMessage) bool  { return false }
func empty(v json.RawMessage) bool { s := squeeze(v); return s == "[]" || s == "{}" }
func zero(v json.RawMessage) bool  { return isNumber(v, 0) }
func one(v json.RawMessage) bool   { return isNumber(v, 1) }
func isNumber(v json.RawMessage, want float64) bool {
	var x float64
	return json.Unmarshal(v, &x) == nil && x == want
}

func anyOf(values ...string) func(json.RawMessage) bool {
	return func(v json.RawMessage) bool { return slices.Contains(values, squeeze(v)) }
}

func plainText(v json.RawMessage) bool {
	var f struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(v, &f) == nil && f.Type == "text"
}

func squeeze(v json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return ""
	}
	return b.String()
}

// readBody reads the request's body, at most maxBody of it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Not every writer has a connection with deadlines; those of tests have none.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTime))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &HTTPError{Status: http.StatusRequestEntityTooLarge, Code: "request_too_large", Message: fmt.Sprintf("the request has more than %d bytes", maxBody)}
	case err != nil:
		return nil, &HTTPError{Status: http.StatusBadRequest, Message: "the request broke off", Err: err}
	}
	return data, nil
}

// decode reads a request of either kind into dst, a pointer to a struct, and
// says which of its fields are beyond the device.
func decode(data []byte, dst any) (needs []string, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, &HTTPError{Status: http.StatusBadRequest, Message: "the request is not a JSON object: " + clip(err.Error())}
	}
	if fields == nil {
		return nil, &HTTPError{Status: http.StatusBadRequest, Message: "the request is not a JSON object: it is null"}
	}
	for name, v := range fields {
		if harmless, ok := beyond[name]; ok && string(v) != "null" && !harmless(v) {
			needs = append(needs, name)
		}
	}
	slices.Sort(needs)
	err = json.Unmarshal(data, dst)
	var h *HTTPError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &h):
		return nil, h
	case errors.As(err, &kind):
		field := strings.TrimPrefix(kind.Field, "common.")
		return nil, badField(field, "%s is %s, which does not fit", field, clip(kind.Value))
	case err != nil:
		return nil, &HTTPError{Status: http.StatusBadRequest, Message: "the request can't be read: " + clip(err.Error())}
	}
	return needs, nil
}

func unsupported(names ...string) error {
	return &HTTPError{Status: http.StatusBadRequest, Code: "unsupported_parameter", Param: names[0],
		Message: "not supported here: " + strings.Join(names, ", ")}
}

// check looks at what chats and completions share.
func (c *common) check(stops int) error {
	switch {
	case c.Model == "":
		return badField("model", "model is missing; /v1/models lists those there are")
	case len(c.Model) > maxModel:
		return badField("model", "model has %d bytes", len(c.Model))
	case c.Temperature != nil && !(*c.Temperature >= 0 && *c.Temperature <= 2):
		return badField("temperature", "temperature is %g, not between 0 and 2", *c.Temperature)
	}
	c.Stop = slices.DeleteFunc(c.Stop, func(s string) bool { return s == "" })
	if len(c.Stop) > stops {
		return badField("stop", "%d stop strings; at most %d are taken", len(c.Stop), stops)
	}
	return nil
}

// sampling is greedy without a temperature. Without a seed one is drawn.
func (c *common) sampling() (model.Sampling, error) {
	s := model.Sampling{Seed: rand.Uint64()}
	if c.Seed != nil {
		s.Seed = uint64(*c.Seed)
	}
	set := func(dst, v *float64) {
		if v != nil {
			*dst = *v
		}
	}
	set(&s.Temperature, c.Temperature)
	set(&s.TopP, c.TopP)
	set(&s.MinP, c.MinP)
	if c.TopK != nil {
		s.TopK = max(0, *c.TopK) // some clients say -1 for all
	}
	return s, s.Check()
}

// parseChat reads and checks a chat request. What is beyond the device has needs
// in place of messages.
func parseChat(data []byte) (*chatRequest, []chat.Message, error) {
	r := &chatRequest{}
	var err error
	if r.needs, err = decode(data, r); err != nil {
		return nil, nil, err
	}
	if err := r.choose(); err != nil {
		return nil, nil, err
	}
	if n := r.N; n != nil {
		if *n < 1 || *n > maxChoices {
			return nil, nil, badField("n", "n is %d, not between 1 and %d", *n, maxChoices)
		}
		if *n > 1 {
			r.needs = append(r.needs, "n")
		}
	}
	if err := r.check(chatStops); err != nil {
		return nil, nil, err
	}
	if r.MaxCompletionTokens != nil {
		r.MaxTokens = r.MaxCompletionTokens
	}
	if r.MaxTokens != nil && *r.MaxTokens < 1 {
		return nil, nil, badField("max_tokens", "max_tokens is %d; at least 1 is needed", *r.MaxTokens)
	}
	if top := r.TopLogProbs; top != nil {
		switch {
		case *top < 0 || *top > maxTop:
			return nil, nil, badField("top_logprobs", "top_logprobs is %d, not between 0 and %d", *top, maxTop)
		case *top > 0 && !r.logProbs():
			return nil, nil, badField("top_logprobs", "top_logprobs needs logprobs: true")
		}
	}
	msgs, needs, err := conversation(r.Messages)
	if err != nil {
		return nil, nil, err
	}
	if r.needs = append(r.needs, needs...); r.needs != nil {
		return r, nil, nil
	}
	if msgs[len(msgs)-1].Role != "user" {
		return nil, nil, badField("messages", "the last message is not the user's")
	}
	return r, msgs, nil
}

// choose takes the choices that the answer is one of, in either of vLLM's forms,
// which the device can hold to.
func (r *chatRequest) choose() error {
	took := func(field string, choices []string) error {
		if len(choices) == 0 {
			return nil
		}
		if r.choices != nil {
			return badField(field, "%s and guided_choice both say what the answer is one of", field)
		}
		r.choices = choices
		if r.needs = slices.DeleteFunc(r.needs, func(need string) bool { return need == field }); len(r.needs) == 0 {
			r.needs = nil
		}
		return nil
	}
	if err := took("guided_choice", r.GuidedChoice); err != nil {
		return err
	}
	var form struct {
		Choice []string `json:"choice"`
	}
	d := json.NewDecoder(bytes.NewReader(r.StructuredOutputs))
	d.DisallowUnknownFields()
	if d.Decode(&form) != nil {
		return nil // another form, or none: beyond the device
	}
	return took("structured_outputs", form.Choice)
}

func (r *chatRequest) logProbs() bool { return r.LogProbs != nil && *r.LogProbs }

func (r *chatRequest) top() int {
	if r.TopLogProbs == nil {
		return 0
	}
	return *r.TopLogProbs
}

// conversation turns OpenAI's messages into plain ones, and names the first that
// has to do with tools, which are beyond the device.
func conversation(in []message) (out []chat.Message, needs []string, err error) {
	if len(in) == 0 {
		return nil, nil, badField("messages", "messages is missing or empty")
	}
	out = make([]chat.Message, len(in))
	for i, m := range in {
		at := fmt.Sprintf("messages[%d]", i)
		need, wordless := "", false
		switch m.Role {
		case "system", "user":
		case "assistant":
			switch {
			case asks(m.ToolCalls):
				need = at + ".tool_calls"
			case asks(m.FunctionCall):
				need = at + ".function_call"
			}
			wordless = need != "" || asks(m.Refusal)
		case "developer":
			m.Role = "system" // OpenAI's newer name
		case "tool", "function":
			need, wordless = at+".role", m.Role == "function"
		case "":
			return nil, nil, badField(at+".role", "%s.role is missing", at)
		default:
			return nil, nil, badField(at+".role", "%s.role is %q; system, developer, user, assistant and tool are known", at, clip(m.Role))
		}
		if need != "" && needs == nil {
			needs = []string{need}
		}
		out[i].Role = m.Role
		if wordless && !said(m.Content) {
			continue
		}
		if out[i].Content, err = content(m.Content, at+".content"); err != nil {
			return nil, nil, err
		}
	}
	return out, needs, nil
}

// said says whether a field is there.
func said(v json.RawMessage) bool { return v != nil && string(v) != "null" }

// asks says whether a field is there and not empty.
func asks(v json.RawMessage) bool { return said(v) && !empty(v) && squeeze(v) != `""` }

// content is a text, or a list of parts that are all text.
func content(raw json.RawMessage, at string) (string, error) {
	var text string
	if !said(raw) {
		return "", badField(at, "%s is missing", at)
	}
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", badField(at, "%s is neither text nor a list of parts", at)
	}
	var all []string
	for i, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return "", badField(fmt.Sprintf("%s[%d]", at, i), "%s[%d] is of type %q; only text is supported", at, i, clip(p.Type))
		}
		all = append(all, *p.Text)
	}
	return strings.Join(all, "\n"), nil
}

// defaultCompletion is how many tokens a completion has that names no number,
// as in OpenAI's API.
const defaultCompletion = 16

// parseCompletion reads and checks a completion request.
func parseCompletion(data []byte) (*completionRequest, error) {
	r := &completionRequest{}
	needs, err := decode(data, r)
	if err == nil && len(needs) > 0 {
		err = unsupported(needs...)
	}
	if err == nil {
		err = r.check(maxStops)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case r.N != nil && *r.N != 1:
		return nil, &HTTPError{Status: http.StatusBadRequest, Code: "unsupported_parameter", Param: "n", Message: fmt.Sprintf("n is %d; only 1 is supported", *r.N)}
	case r.Prompt.len() == 0:
		return nil, badField("prompt", "prompt is missing or empty")
	case r.Prompt.len() > maxPrompts:
		return nil, badField("prompt", "%d prompts; at most %d are taken at once", r.Prompt.len(), maxPrompts)
	case r.BestOf != nil && *r.BestOf != 1:
		return nil, badField("best_of", "best_of is %d; only 1 is supported", *r.BestOf)
	case r.LogProbs != nil && (*r.LogProbs < 0 || *r.LogProbs > maxTop):
		return nil, badField("logprobs", "logprobs is %d, not between 0 and %d", *r.LogProbs, maxTop)
	}
	if r.MaxTokens == nil {
		n := defaultCompletion
		r.MaxTokens = &n
	}
	if *r.MaxTokens < 0 {
		return nil, badField("max_tokens", "max_tokens is %d", *r.MaxTokens)
	}
	return r, nil
}

func (r *completionRequest) top() int {
	if r.LogProbs == nil {
		return 0
	}
	return *r.LogProbs
}
