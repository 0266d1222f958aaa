package chat

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	controls "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/builtins/methods"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// A chat template comes out of a stranger's file, and the engine that renders it
// cannot be interrupted. So the language is cut down to what chat templates use
// (nothing that reads files, no free recursion, no multiplication) and every
// way a value or a loop can grow is charged to a budget.
const (
	maxSource    = 64 << 10 // bytes of template
	maxTagTokens = 1000     // lexical tokens in one {{ }} or {% %}
	maxTagOps    = 64       // concatenations and the like in one
	maxRange     = 10_000   // length of a range()
	maxMacros    = 16       // macros calling each other, deep
	renderTime   = 3 * time.Second
)

var errBudget = errors.New("the template makes too much text or takes too long")

// budget bounds one rendering.
type budget struct {
	deadline time.Time
	bytes    int   // text that may still be written, in all buffers together
	value    int   // size a variable may have
	depth    int   // macros running
	cause    error // why rendering had to stop; the engine's own errors bury it
}

func newBudget(content int, limit time.Duration) *budget {
	return &budget{deadline: time.Now().Add(limit), bytes: 8<<20 + 32*content, value: 256<<10 + 2*content}
}

func (b *budget) spend(n int) error {
	if b.bytes -= n; b.bytes < 0 || time.Now().After(b.deadline) {
		return b.stop(errBudget)
	}
	return nil
}

// stop notes the first reason to stop and returns err.
func (b *budget) stop(err error) error {
	if b.cause == nil {
		b.cause = err
	}
	return err
}

// counted charges what is written to a budget.
type counted struct {
	w io.Writer
	b *budget
}

func (c *counted) Write(p []byte) (int, error) {
	if err := c.b.spend(len(p)); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// guarded charges a control structure before it runs, and what it writes.
type guarded struct {
	inner exec.ControlStructure
	t     *Template
	set   string // the variable a set tag changes
}

func (g *guarded) Position() *tokens.Token { return g.inner.Position() }
func (g *guarded) String() string          { return g.inner.String() }

func (g *guarded) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	b := g.t.budget
	if err := b.spend(0); err != nil {
		return err
	}
	if _, ok := r.Output.(*counted); !ok {
		out := r.Output
		r.Output = &counted{out, b}
		defer func() { r.Output = out }()
	}
	if m, ok := g.inner.(*controls.MacroControlStructure); ok {
		return g.macro(r, m)
	}
	if err := g.inner.Execute(r, tag); err != nil {
		return err
	}
	if g.set == "" {
		return nil
	}
	v, _ := r.Environment.Context.Get(g.set)
	left := b.value
	if !measure(reflect.ValueOf(v), &left, 0) {
		return b.stop(fmt.Errorf("variable %q grows too large or holds itself", g.set))
	}
	return b.spend(b.value - left)
}

// macro defines a macro whose calls are counted.
func (g *guarded) macro(r *exec.Renderer, m *controls.MacroControlStructure) error {
	fn, err := exec.MacroNodeToFunc(m.Macro, r)
	if err != nil {
		return err
	}
	r.Environment.Context.Set(m.Name, exec.Macro(func(args *exec.VarArgs) *exec.Value {
		b := g.t.budget
		if b.depth >= maxMacros {
			return exec.AsValue(b.stop(fmt.Errorf("macro %s calls itself too deeply", m.Name)))
		}
		b.depth++
		defer func() { b.depth-- }()
		v := fn(args)
		if v.IsString() {
			n := len(v.String())
			if n > b.value {
				return exec.AsValue(b.stop(errBudget))
			}
			if err := b.spend(n); err != nil {
				return exec.AsValue(err)
			}
		}
		return v
	}))
	return nil
}

// measure takes the size of v from left; false when it does not fit, which a
// value that holds itself never does.
func measure(v reflect.Value, left *int, depth int) bool {
	if *left -= 16; *left < 0 || depth > 32 {
		return false
	}
	switch v.Kind() {
	case reflect.String:
		*left -= v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.CanInterface() {
			if w, ok := v.Interface().(*exec.Value); ok {
				return w == nil || measure(w.Val, left, depth+1)
			}
		}
		return v.IsNil() || measure(v.Elem(), left, depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !measure(v.Index(i), left, depth+1) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !measure(it.Key(), left, depth+1) || !measure(it.Value(), left, depth+1) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !measure(v.Field(i), left, depth+1) {
				return false
			}
		}
	}
	return *left >= 0
}

// controlSet is the control structures a template of t may use.
func (t *Template) controlSet() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{}
	for _, name := range []string{"for", "if", "set", "macro", "raw", "break", "continue"} {
		parse, _ := builtins.ControlStructures.Get(name)
		set[name] = func(p, args *parser.Parser) (nodes.ControlStructure, error) {
			g := &guarded{t: t}
			if first := args.Current(tokens.Name); name == "set" {
				if first == nil {
					return nil, errors.New("set needs a variable's name")
				}
				g.set = first.Val
			}
			node, err := parse(p, args)
			if err != nil {
				return nil, err
			}
			if loop, ok := node.(*controls.ForControlStructure); ok && loop.Recursive {
				return nil, errors.New("recursive loops are not supported")
			}
			inner, ok := node.(exec.ControlStructure)
			if !ok {
				return nil, fmt.Errorf("%s cannot be run", name)
			}
			g.inner = inner
			return g, nil
		}
	}
	return exec.NewControlStructureSet(set)
}

// environment is the filters, tests, methods and functions of t.
func (t *Template) environment() *exec.Environment {
	filters := map[string]exec.FilterFunction{}
	for _, name := range []string{"abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
		"int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round",
		"safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper"} {
		if f, ok := builtins.Filters.Get(name); ok {
			filters[name] = f
		}
	}
	join, _ := builtins.Filters.Get("join")
	filters["join"] = func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		sep := 0
		for _, a := range params.Args {
			sep += len(a.String())
		}
		for _, a := range params.KwArgs {
			sep += len(a.String())
		}
		if sep*in.Len() > t.budget.value {
			return exec.AsValue(t.budget.stop(errBudget))
		}
		return join(e, in, params)
	}
	filters["replace"] = func(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if in.IsError() {
			return in
		}
		s, err := t.replace(in.String(), params)
		if err != nil {
			return exec.AsValue(err)
		}
		return exec.AsValue(s)
	}

	str := map[string]exec.Method[string]{}
	for _, name := range []string{"capitalize", "count", "endswith", "find", "isalpha", "isdigit", "isspace", "lower", "lstrip",
		"removeprefix", "removesuffix", "rfind", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"} {
		if m, ok := methods.All.Str.Get(name); ok {
			str[name] = m
		}
	}
	str["replace"] = func(self string, _ *exec.Value, params *exec.VarArgs) (any, error) { return t.replace(self, params) }
	dict := map[string]exec.Method[map[string]any]{}
	for _, name := range []string{"get", "items", "keys", "values"} {
		if m, ok := methods.All.Dict.Get(name); ok {
			dict[name] = m
		}
	}

	namespace, _ := builtins.GlobalFunctions.Get("namespace")
	return &exec.Environment{
		Filters: exec.NewFilterSet(filters), Tests: builtins.Tests, ControlStructures: t.controlSet(),
		Methods: exec.Methods{
			Bool: exec.NewMethodSet(map[string]exec.Method[bool]{}), Int: exec.NewMethodSet(map[string]exec.Method[int]{}),
			Float: exec.NewMethodSet(map[string]exec.Method[float64]{}), Str: exec.NewMethodSet(str),
			Dict: exec.NewMethodSet(dict), List: exec.NewMethodSet(map[string]exec.Method[[]any]{}),
		},
		Context: exec.NewContext(map[string]any{
			"namespace": namespace,
			"range":     boundedRange,
			"raise_exception": func(va *exec.VarArgs) *exec.Value {
				reason := "no reason given"
				if len(va.Args) > 0 {
					reason = va.Args[0].String()
				}
				return exec.AsValue(t.budget.stop(fmt.Errorf("the template refuses: %.200s", reason)))
			},
		}),
	}
}

// replace is str.replace(old, new), its result bounded.
func (t *Template) replace(s string, params *exec.VarArgs) (string, error) {
	if len(params.Args) != 2 || len(params.KwArgs) != 0 {
		return "", errors.New("replace takes two texts")
	}
	old, with := params.Args[0].String(), params.Args[1].String()
	if len(s)+strings.Count(s, old)*len(with) > t.budget.value {
		return "", t.budget.stop(errBudget)
	}
	return strings.ReplaceAll(s, old, with), nil
}

// boundedRange is Python's range as a list.
func boundedRange(va *exec.VarArgs) *exec.Value {
	from, to, step := 0, 0, 1
	for _, a := range va.Args {
		if !a.IsInteger() {
			return exec.AsValue(errors.New("range takes whole numbers"))
		}
	}
	switch len(va.Args) {
	case 1:
		to = va.Args[0].Integer()
	case 2:
		from, to = va.Args[0].Integer(), va.Args[1].Integer()
	case 3:
		from, to, step = va.Args[0].Integer(), va.Args[1].Integer(), va.Args[2].Integer()
	default:
		return exec.AsValue(errors.New("range takes one to three numbers"))
	}
	if step == 0 {
		return exec.AsValue(errors.New("range with step 0"))
	}
	out := []int{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if len(out) == maxRange {
			return exec.AsValue(fmt.Errorf("range longer than %d", maxRange))
		}
		out = append(out, i)
	}
	return exec.AsValue(out)
}

// vet refuses a source that could grow values within one expression, where no
// budget is charged, or nest deeper than the parser's stack should go.
func vet(source string, cfg *config.Config) error {
	s := tokens.LexAll(source, cfg)
	n, ops, block, target := 0, 0, false, false
	for ; !s.End(); s.Next() {
		tok := s.Current()
		if tok == nil {
			break
		}
		at := func(format string, args ...any) error {
			return fmt.Errorf("line %d: "+format, append([]any{tok.Line}, args...)...)
		}
		n++
		switch tok.Type {
		case tokens.Error:
			return at("%s", tok.Val)
		case tokens.BlockBegin, tokens.VariableBegin:
			n, ops, block, target = 0, 0, tok.Type == tokens.BlockBegin, false
		case tokens.Name:
			if block && n == 1 {
				target = tok.Val == "set"
			}
		case tokens.Assign:
			target = false
		case tokens.LeftParenthesis:
			if target {
				return at("set changes the result of a call")
			}
		case tokens.Multiply, tokens.Power:
			return at("multiplication is not supported")
		case tokens.Addition, tokens.Tilde, tokens.Not, tokens.Subtraction, tokens.Pipe:
			if ops++; ops > maxTagOps {
				return at("more than %d operators in one tag", maxTagOps)
			}
		}
		if n > maxTagTokens && tok.Type != tokens.Data {
			return at("more than %d words in one tag", maxTagTokens)
		}
	}
	return nil
}
