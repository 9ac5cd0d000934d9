"""LaTeX commands that the notes use, and what each is in MathML."""

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "vartheta": "ϑ", "iota": "ι", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "upsilon": "υ", "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ",
    "Upsilon": "Υ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "ell": "ℓ", "infty": "∞",
    "partial": "∂", "nabla": "∇", "emptyset": "∅", "Re": "ℜ", "Im": "ℑ", "hbar": "ℏ",
}  # fmt: skip

OPERATORS = {
    "cdot": "⋅", "times": "×", "otimes": "⊗", "odot": "⊙", "oplus": "⊕", "circ": "∘", "pm": "±",
    "mp": "∓", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ll": "≪", "gg": "≫", "lt": "<",
    "gt": ">", "ne": "≠", "neq": "≠", "approx": "≈", "equiv": "≡", "sim": "∼", "simeq": "≃",
    "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪",
    "cap": "∩", "setminus": "∖", "to": "→", "rightarrow": "→", "leftarrow": "←", "gets": "←",
    "mapsto": "↦", "Rightarrow": "⇒", "Leftarrow": "⇐", "Leftrightarrow": "⇔", "iff": "⟺",
    "implies": "⟹", "Longrightarrow": "⟹", "longrightarrow": "⟶",
    "leftrightarrow": "↔", "forall": "∀", "exists": "∃", "top": "⊤",
    "bot": "⊥", "perp": "⊥", "dagger": "†", "ast": "∗", "star": "⋆", "prime": "′",
    "ldots": "…", "dots": "…", "cdots": "⋯", "vdots": "⋮", "ddots": "⋱", "colon": ":",
    "langle": "⟨", "rangle": "⟩", "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖",
    "lvert": "|", "rvert": "|", "vert": "|", "mid": "∣", "lfloor": "⌊", "rfloor": "⌋",
    "lceil": "⌈", "rceil": "⌉", "lbrace": "{", "rbrace": "}", "{": "{", "}": "}",
    "coloneqq": "≔", "triangleq": "≜", "succ": "≻", "succeq": "⪰", "prec": "≺",
    "preceq": "⪯", "lor": "∨", "vee": "∨", "land": "∧", "wedge": "∧", "neg": "¬",
    "_": "_", "&": "&", "%": "%", "#": "#", "$": "$",
}  # fmt: skip

LARGE_OPERATORS = {"sum": "∑", "prod": "∏", "int": "∫", "bigcup": "⋃", "bigoplus": "⨁"}

# Below these a subscript stands underneath when the equation is displayed.
LIMIT_FUNCTIONS = {"max", "min", "sup", "inf", "lim", "argmax", "argmin"}
FUNCTIONS = LIMIT_FUNCTIONS | {
    "log", "ln", "exp", "det", "tr", "diag", "sign", "sgn", "rank", "sin", "cos", "tan", "tanh",
    "dim", "ker", "Pr", "gcd", "arg", "triu", "rms",
}  # fmt: skip

ACCENTS = {
    "hat": "^", "widehat": "^", "tilde": "~", "widetilde": "~", "bar": "¯", "overline": "¯",
    "dot": "˙", "ddot": "¨", "vec": "→", "check": "ˇ",
}  # fmt: skip

SPACES = {
    ",": "0.17em", ":": "0.22em", ";": "0.28em", " ": "0.25em", "!": "0em", "quad": "1em",
    "qquad": "2em",
}  # fmt: skip

UPRIGHT = {"mathrm", "operatorname", "operatorname*", "mathsf", "mathtt", "mathop"}
TEXT = {"text", "textrm", "textbf", "textit", "texttt", "mbox"}
ALPHABETS = {
    "mathbf": "BOLD", "boldsymbol": "BOLD", "bm": "BOLD", "mathcal": "SCRIPT",
    "mathscr": "SCRIPT", "mathbb": "DOUBLE-STRUCK", "mathfrak": "FRAKTUR",
}  # fmt: skip

# Commands that change the size or the style of type only.
IGNORED = {
    "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "big", "Big", "bigg",
    "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "nonumber", "notag", "mathit",
}  # fmt: skip

FENCES = {"matrix": "", "pmatrix": "()", "bmatrix": "[]", "vmatrix": "||", "cases": "{"}
TABLES = set(FENCES) | {
    "aligned", "align", "align*", "split", "gathered", "gather", "gather*", "equation",
    "equation*", "array",
}  # fmt: skip
