// Every word that the page says, a file a language. A language lacks nothing: the type says so. English is in the first load, the
// others come when they are chosen.

import { en } from "./en";

export type Word = keyof typeof en;
/** What is counted has a form for each plural of the language (CLDR's categories), and one for all others. */
export type Counted = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };
export type Words = { [Key in Word]: (typeof en)[Key] extends string ? string : Counted };
export type Language = "en" | "ar";

export const languages: Record<Language, { name: string; dir: "ltr" | "rtl"; load: () => Promise<Words> }> = {
  en: { name: "English", dir: "ltr", load: async () => en },
  ar: { name: "العربية", dir: "rtl", load: async () => (await import("./ar")).ar },
};

/** The first of a person's languages that there is. */
export function preferred(wanted: readonly string[]): Language {
  const known = wanted.map((one) => one.split("-")[0]).find((one) => one in languages);
  return (known as Language | undefined) ?? "en";
}

/** A word about something: `{n}` is what, or how many; `{m}` is something else. */
export function phrase(words: Words, language: Language, word: Word, about: string | number = "", also = ""): string {
  const text = words[word];
  const chosen = typeof text === "string" ? text : text[new Intl.PluralRules(language).select(Number(about))] ?? text.other;
  const shown = typeof about === "number" ? new Intl.NumberFormat(language).format(about) : isolated(about);
  return chosen.replaceAll("{n}", shown).replaceAll("{m}", also);
}

/** A name in letters of the other direction moves nothing around it (FSI … PDI of Unicode). */
const isolated = (text: string) => (text === "" ? "" : `\u2068${text}\u2069`);
