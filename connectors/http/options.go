package http

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/headwater-data/headwater/connectors"
	"github.com/headwater-data/headwater/internal/secret"
)

// Config says where the interface is and how to log in (`config:`).
type Config struct {
	Address     string        `yaml:"address" json:"address" required:"true" desc:"Where the interface is, such as https://permits.example/api. Paths of streams are below it. Nothing is asked of any other server, whatever an answer says."`
	Token       secret.Value  `yaml:"token,omitempty" json:"token,omitempty" desc:"What lets us in: ${env:NAME} or ${file:PATH}."`
	TokenHeader string        `yaml:"token_header,omitempty" json:"token_header,omitempty" desc:"Header that the token travels in, as it is. Defaults to Authorization, with Bearer before it."`
	User        string        `yaml:"user,omitempty" json:"user,omitempty" desc:"User, for basic authentication. Needs a password, and goes with no token."`
	Password    secret.Value  `yaml:"password,omitempty" json:"password,omitempty" desc:"Its password: ${env:NAME} or ${file:PATH}."`
	TLS         *TLS          `yaml:"tls,omitempty" json:"tls,omitempty" desc:"Certificates, where those of the system will not do. There is no switch to leave verification out."`
	Timeout     time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty" desc:"How long one answer may take, to its end. Defaults to 1m."`
	Pause       time.Duration `yaml:"pause,omitempty" json:"pause,omitempty" desc:"Least time between the beginnings of two requests, over all streams together. Defaults to none."`
	MaxAnswer   int64         `yaml:"max_answer_bytes,omitempty" json:"max_answer_bytes,omitempty" desc:"Longest answer in bytes (at most 268435456). It is held in memory, several times over. Defaults to 16777216."`
}

// TLS names files of an encrypted connection, relative to the project.
type TLS struct {
	CA   string `yaml:"ca,omitempty" json:"ca,omitempty" desc:"Certificates (PEM) of the authorities that are trusted. Defaults to the system's."`
	Cert string `yaml:"cert,omitempty" json:"cert,omitempty" desc:"Own certificate (PEM), where the server asks for one."`
	Key  string `yaml:"key,omitempty" json:"key,omitempty" desc:"Key (PEM) of the own certificate."`
}

// Options say what a stream is and how it is read (`read:`).
type Options struct {
	Path     string            `yaml:"path,omitempty" json:"path,omitempty" desc:"Path below the address. Defaults to the address itself."`
	Query    map[string]string `yaml:"query,omitempty" json:"query,omitempty" desc:"Parameters that every request has."`
	Records  string            `yaml:"records,omitempty" json:"records,omitempty" desc:"Dotted path to the list of records in an answer, such as data.items. Defaults to the answer itself."`
	Columns  []string          `yaml:"columns" json:"columns" required:"true" desc:"Columns that are read: dotted paths in a record, such as no or holder.name."`
	Optional []string          `yaml:"optional,omitempty" json:"optional,omitempty" desc:"Columns that all records of an answer may lack. Any other that is in none of them is an error, because it was likely renamed."`
	Pages    *Pages            `yaml:"pages,omitempty" json:"pages,omitempty" desc:"How an answer that is cut into pages is asked for. Defaults to one answer with all."`
	Total    string            `yaml:"total,omitempty" json:"total,omitempty" desc:"Dotted path to the number of all records, such as data.total. If another number comes, reading is tried again and nothing is replaced."`
	After    *After            `yaml:"after,omitempty" json:"after,omitempty" desc:"Read only what follows the last reading. Defaults to all: every reading is of the whole content, and replaces what was read before."`
	MaxBytes int64             `yaml:"max_bytes,omitempty" json:"max_bytes,omitempty" desc:"Most bytes that the columns of a whole content may take in a temporary file. Defaults to 17179869184 (16 GiB)."`
}

// Pages says how pages are asked for.
type Pages struct {
	By        string `yaml:"by" json:"by" required:"true" enum:"number,offset,token,link" desc:"number: param is the number of the page. offset: param is how many records came before. Both go on until an answer has no records, or as many as total says. token: an answer has at next what param must be for the next page. link: it has the next page's address at next, or in its header Link."`
	Param     string `yaml:"param,omitempty" json:"param,omitempty" desc:"Parameter of the request that says which page; not with link."`
	First     *int   `yaml:"first,omitempty" json:"first,omitempty" desc:"Number of the first page. Defaults to 1."`
	Size      int    `yaml:"size,omitempty" json:"size,omitempty" desc:"Records of a page. Needs size_param. Defaults to what the server thinks right."`
	SizeParam string `yaml:"size_param,omitempty" json:"size_param,omitempty" desc:"Parameter of the request that says how many records a page has."`
	Next      string `yaml:"next,omitempty" json:"next,omitempty" desc:"Dotted path to the next page's token or address. The last page has null, an empty text or nothing there."`
}

// After says which column grows.
type After struct {
	Column    string `yaml:"column" json:"column" required:"true" desc:"Column that is another and higher one in every record, and grows with every change: a number, or a text that sorts by its bytes. Answers must be in its order. It must be one of columns."`
	Param     string `yaml:"param" json:"param" required:"true" desc:"Parameter of the request; the server answers with records whose column is above it."`
	Size      int    `yaml:"size,omitempty" json:"size,omitempty" desc:"Records of an answer. Needs size_param. Defaults to what the server thinks right."`
	SizeParam string `yaml:"size_param,omitempty" json:"size_param,omitempty" desc:"Parameter of the request that says how many records an answer has."`
	Begin     string `yaml:"begin,omitempty" json:"begin,omitempty" desc:"What the parameter is at first. Defaults to leaving it out."`
}

const (
	defaultTimeout   = time.Minute
	defaultMaxAnswer = 16 << 20
	mostMaxAnswer    = 256 << 20
	defaultMaxBytes  = 16 << 30
)

// The values of pages.by.
const (
	byNumber = "number"
	byOffset = "offset"
	byToken  = "token"
	byLink   = "link"
)

// headerName is what may be the name of a header.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// ReplacesContent reports whether a reading replaces what was read before; whoever checks the mapping asks.
func (o *Options) ReplacesContent() bool { return o.After == nil }

// Check finds what is wrong with the options, without asking the server.
func (c *Config) Check() (faults []connectors.OptionFault) {
	fault := func(option, message, fix string) {
		faults = append(faults, connectors.OptionFault{Path: []string{option}, Message: message, Fix: fix})
	}
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		fault("address", "this is not the address of an HTTP interface", "write it as https://permits.example/api")
	case u.User != nil:
		fault("address", "a login stands in the address", "use user and password, or token")
	case u.RawQuery != "" || u.Fragment != "":
		fault("address", "the address has a query", "give it under query of the stream")
	case u.Scheme == "http" && c.TLS != nil:
		fault("tls", "the address is http, without encryption", "write https")
	}
	switch {
	case c.User != "" && c.Token.IsSet():
		fault("user", "both a token and a user", "leave one out")
	case c.User != "" != c.Password.IsSet():
		fault("password", "user and password go together", "give both")
	}
	if c.TokenHeader != "" && !headerName.MatchString(c.TokenHeader) {
		fault("token_header", fmt.Sprintf("%q is no name of a header", c.TokenHeader), "")
	}
	if c.TLS != nil && (c.TLS.Cert == "") != (c.TLS.Key == "") {
		fault("tls", "cert and key go together", "give both")
	}
	if c.Timeout < 0 || c.Timeout > 0 && c.Timeout < time.Second {
		fault("timeout", "the time is negative or shorter than a second", "write it as 90s")
	}
	if c.Pause < 0 {
		fault("pause", "the time is negative", "")
	}
	if c.MaxAnswer < 0 || c.MaxAnswer > mostMaxAnswer {
		fault("max_answer_bytes", fmt.Sprintf("%d is out of range", c.MaxAnswer), fmt.Sprintf("use 1 to %d", mostMaxAnswer))
	}
	return faults
}

// Check finds what is wrong with a stream's options.
func (o *Options) Check() (faults []connectors.OptionFault) {
	fault := func(message, fix string, path ...string) {
		faults = append(faults, connectors.OptionFault{Path: path, Message: message, Fix: fix})
	}
	if u, err := url.Parse(o.Path); err != nil || u.Scheme != "" || u.Host != "" || u.RawQuery != "" || slices.Contains(strings.Split(o.Path, "/"), "..") {
		fault("this is not a path below the address", "write it as permits/granted; parameters go under query", "path")
	}
	if len(o.Columns) == 0 {
		fault("no columns", "name those that are read", "columns")
	}
	seen := map[string]bool{}
	for _, name := range o.Columns {
		if name == "" || seen[name] {
			fault(fmt.Sprintf("column %q is empty or there twice", name), "", "columns")
		}
		seen[name] = true
	}
	for _, name := range o.Optional {
		if !seen[name] {
			fault(fmt.Sprintf("%q is not one of columns", name), "", "optional")
		}
	}
	if o.MaxBytes < 0 {
		fault("the number is negative", "", "max_bytes")
	}
	if a := o.After; a != nil {
		switch {
		case !seen[a.Column]:
			fault(fmt.Sprintf("%q is not one of columns", a.Column), "name it there too", "after", "column")
		case slices.Contains(o.Optional, a.Column):
			fault("the column that reading goes by cannot be missing", "take it out of optional", "after", "column")
		}
		if a.Param == "" {
			fault("no parameter", "say which one the server goes by", "after", "param")
		}
		if o.Pages != nil {
			fault("after makes pages of its own, each behind the last record of the one before", "leave pages out; after has a size, too", "pages")
		}
		if a.Size < 0 || a.Size > 0 != (a.SizeParam != "") {
			fault("size and size_param go together", "give both, or none", "after", "size")
		}
		if o.Total != "" {
			fault("the total is not of what follows", "leave it out", "total")
		}
	} else if p := o.Pages; p != nil {
		if !slices.Contains([]string{byNumber, byOffset, byToken, byLink}, p.By) {
			fault(fmt.Sprintf("%q is not known", p.By), "use number, offset, token or link", "pages", "by")
		}
		if (p.Param == "") != (p.By == byLink) {
			fault("param is needed, but for link", "", "pages", "param")
		}
		if p.By == byToken && p.Next == "" {
			fault("no place of the next token", "say where it stands in an answer", "pages", "next")
		}
		if p.Next != "" && (p.By == byNumber || p.By == byOffset) {
			fault("next is for token and link", "leave it out", "pages", "next")
		}
		if p.First != nil && p.By != byNumber {
			fault("first is for number", "leave it out", "pages", "first")
		}
		if p.Size < 0 || p.Size > 0 != (p.SizeParam != "") {
			fault("size and size_param go together", "give both, or none", "pages", "size")
		}
	}
	return faults
}

func (c *Config) maxAnswer() int64       { return cmp.Or(c.MaxAnswer, defaultMaxAnswer) }
func (c *Config) timeout() time.Duration { return cmp.Or(c.Timeout, defaultTimeout) }
