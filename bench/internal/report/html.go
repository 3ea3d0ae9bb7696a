package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Section is what one experiment found.
type Section struct {
	Name     string // as on the command line
	Title    string
	Settings string   // sizes, distributions, engines' parameters: all that is needed to run it again
	Text     []string // paragraphs
	Tables   []*Table
	Figures  []*Figure
	Took     time.Duration
}

// Report is the whole run.
type Report struct {
	Title    string
	Created  time.Time
	Facts    [][2]string // machine, commit, Go version, command line …
	Answers  []Answer    // the research questions
	Sections []*Section
}

// Answer is a question and what the run says to it.
type Answer struct {
	Name, Question string
	Text           []string
}

// Write makes dir and puts report.html, and for every figure and table the PNG, SVG and CSV, into it. It returns the
// path of the page.
func (r *Report) Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("bench: report directory: %w", err)
	}
	for _, s := range r.Sections {
		for _, f := range s.Figures {
			for ending, draw := range map[string]func(io.Writer) error{"png": f.PNG, "svg": f.SVG, "csv": f.CSV} {
				if err := writeFile(filepath.Join(dir, f.Name+"."+ending), draw); err != nil {
					return "", err
				}
			}
		}
		for _, t := range s.Tables {
			if err := writeFile(filepath.Join(dir, t.Name+".csv"), t.CSV); err != nil {
				return "", err
			}
		}
	}
	page := filepath.Join(dir, "report.html")
	return page, writeFile(page, r.HTML)
}

func writeFile(name string, fill func(io.Writer) error) error {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return fmt.Errorf("bench: %s: %w", filepath.Base(name), err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("bench: report: %w", err)
	}
	return nil
}

// HTML writes the page with its pictures inside.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"picture": picture,
		"numeric": func(i int, s string) bool { return i > 0 && (numeric(s) || s == "–") },
		"took":    func(d time.Duration) string { return Duration(d) },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

// picture is a figure as an image that the page carries itself.
func picture(f *Figure) (template.HTML, error) {
	var b bytes.Buffer
	if err := f.PNG(&b); err != nil {
		return "", err
	}
	return template.HTML(fmt.Sprintf(`<img alt="%s" src="data:image/png;base64,%s">`,
		template.HTMLEscapeString(f.Title), base64.StdEncoding.EncodeToString(b.Bytes()))), nil
}

const page = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; font-size: 14px; }
th, td { border: 1px solid #ddd; padding: .2rem .6rem; text-align: left; vertical-align: top; }
th { background: #f4f4f4; } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
img { width: 47rem; max-width: 100%; display: block; margin: .8rem 0; }
.settings, nav, footer { color: #666; font-size: 14px; } nav a { margin-right: .9rem; white-space: nowrap; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin-left: 0; }
.wide { overflow-x: auto; }
</style></head><body>
<h1>{{.Title}}</h1>
<p class="settings">{{.Created.Format "2006-01-02 15:04 MST"}}</p>
<table>{{range .Facts}}<tr><th>{{index . 0}}</th><td>{{index . 1}}</td></tr>{{end}}</table>
<nav>{{range .Sections}}<a href="#{{.Name}}">{{.Title}}</a> {{end}}</nav>
{{if .Answers}}<h2 id="answers">Research questions</h2><dl>
{{range .Answers}}<dt>{{.Name}} {{.Question}}</dt>{{range .Text}}<dd>{{.}}</dd>{{end}}
{{end}}</dl>{{end}}
{{range .Sections}}<h2 id="{{.Name}}">{{.Title}}</h2>
{{if .Settings}}<p class="settings">{{.Settings}}{{if .Took}} Took {{took .Took}}.{{end}}</p>{{end}}
{{range .Text}}<p>{{.}}</p>
{{end}}{{range .Tables}}<div class="wide"><table><caption>{{.Title}}</caption><tr>{{range .Header}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range $i, $c := .}}<td{{if numeric $i $c}} class="n"{{end}}>{{$c}}</td>{{end}}</tr>
{{end}}</table></div>
{{end}}{{range .Figures}}{{picture .}}
{{end}}{{end}}<footer>Every figure is beside this page as PNG and SVG, its numbers as CSV.</footer>
</body></html>
`
