// Two organisations on this machine and a browser before them: what every story of the page needs.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const run = promisify(execFile);
const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const BIN = process.env.ROOST_BIN ?? join(root, "target/debug/roost");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const VIEWPORT = { width: 1440, height: 900 };
export const CHROMIUM_OPTIONS = {
  executablePath: CHROMIUM,
  args: ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  viewport: VIEWPORT,
  locale: "en-GB",
};
export const SCREENSHOTS = join(root, "target/screenshots");
/** Nothing on one machine takes longer than this, ms; a busy one may be given more. */
export const WAIT = Number(process.env.PAGE_WAIT_MS ?? 30_000);

const json = (text) => text.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));

/** A node: its directory, its process, its address. */
class Node {
  static async start(root, name, bootstrap) {
    const node = new Node();
    node.dir = join(root, name);
    node.name = name;
    const meets = bootstrap ? ["--bootstrap", `${bootstrap.ready.listen[0]}/p2p/${bootstrap.ready.peer_id}`] : [];
    await run(BIN, ["--json", "init", "--dir", node.dir, "--name", name, "--profile", "testnet", "--listen", "/ip4/127.0.0.1/tcp/0", "--web", "127.0.0.1:0", ...meets]);
    await node.serve();
    return node;
  }

  async serve() {
    const web = this.web ? ["--web", new URL(this.web).host] : [];
    this.process = spawn(BIN, ["--json", "serve", "--dir", this.dir, ...web], { stdio: ["ignore", "pipe", process.env.ROOST_LOG ? "inherit" : "ignore"] });
    this.ready = await new Promise((done, failed) => {
      let text = "";
      const timer = setTimeout(() => failed(new Error(`${this.name} is not ready`)), WAIT);
      this.process.once("exit", (code) => failed(new Error(`${this.name} ended with ${code}`)));
      this.process.stdout.on("data", (part) => {
        text += part;
        if (text.includes("\n")) {
          clearTimeout(timer);
          done(json(text)[0]);
        }
      });
    });
    this.web = this.ready.web.startsWith("http") ? this.ready.web : `http://${this.ready.web}`;
  }

  async stop() {
    if (!this.process) return;
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.removeAllListeners("exit");
    this.process.once("exit", () => {});
    const gone = new Promise((done) => this.process.once("exit", done));
    this.process.kill("SIGTERM");
    await Promise.race([ended, gone, new Promise((done) => setTimeout(done, 12_000))]);
    this.process.kill("SIGKILL");
    this.process = null;
  }

  async invite() {
    const { stdout } = await run(BIN, ["--json", "invite", "--dir", this.dir, "--uses", "100"]);
    return json(stdout)[0].invite;
  }
}

/** A person's page. */
export class Person {
  /** Faults that the page met: exceptions, and breaches of its policy. */
  faults = [];

  static async at(town, node, options = {}) {
    const context = await town.browser.newContext({ viewport: VIEWPORT, locale: "en-GB", ...options });
    return Person.in(context, node);
  }

  /** In a browser of their own. */
  static async in(context, node) {
    const person = new Person();
    person.node = node;
    person.context = context;
    person.page = await context.newPage();
    person.page.setDefaultTimeout(WAIT);
    person.page.on("pageerror", (error) => person.faults.push(String(error)));
    person.page.on("console", (message) => {
      if (message.type() === "error" && !/ERR_INTERNET_DISCONNECTED|ERR_CONNECTION_REFUSED|WebSocket/.test(message.text())) person.faults.push(message.text());
    });
    return person;
  }

  /** Signs up by an invite link and confirms the recovery code, which it gives. */
  async signUp(name) {
    const { page, node } = this;
    await page.goto(`${node.web}/#invite=${await node.invite()}`);
    await page.getByLabel("Name", { exact: false }).first().fill(name);
    await page.getByRole("button", { name: "Create account" }).click();
    const groups = page.locator("ol.code li");
    await groups.first().waitFor();
    this.code = (await groups.allTextContents()).map((text) => text.trim().split(/\s+/).at(-1));
    await page.getByRole("button", { name: "I have written it down" }).click();
    for (const field of await page.locator(".asked .field").all()) {
      const at = Number((await field.locator("span").textContent()).match(/\d+/)[0]);
      await field.locator("input").fill(this.code[at - 1]);
    }
    await page.getByRole("button", { name: "Begin" }).click();
    await page.getByRole("button", { name: "New conversation" }).waitFor();
    this.handle = `${name}@${node.name}`;
    await this.connected();
  }

  async connected() {
    await this.page.locator("[data-connected]").waitFor();
  }

  /** Begins a conversation with people by their handles. */
  async begin(handles, title) {
    await this.page.getByRole("button", { name: "New conversation" }).click();
    await this.page.getByLabel("People", { exact: false }).fill(handles.join(" "));
    if (title) await this.page.getByLabel("Title").fill(title);
    await this.page.getByRole("button", { name: "Start" }).click();
    await this.page.getByRole("textbox", { name: "Write a message" }).waitFor();
  }

  async say(text) {
    const input = this.page.getByRole("textbox", { name: "Write a message" });
    await input.fill(text);
    await input.press("Enter");
    await this.page.locator("article.own", { hasText: text }).first().waitFor();
  }

  async open(name) {
    await this.page.locator("nav .row", { hasText: name }).click();
  }

  async accept() {
    await this.page.getByRole("button", { name: "Accept" }).first().click();
  }

  /** Waits until a message is on the screen. */
  async reads(text) {
    await this.page.locator("article", { hasText: text }).first().waitFor();
  }

  /** Waits until a message of ours has come so far. */
  async came(text, state) {
    await this.page.locator("article.own", { hasText: text }).locator(".ticks").getByText(state).waitFor({ state: "attached" });
  }

  async screenshot(name) {
    await mkdir(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  }
}

export class Town {
  static async build() {
    const town = new Town();
    town.dir = await mkdtemp(join(tmpdir(), "roost-page-"));
    town.acme = await Node.start(town.dir, "acme");
    town.birch = await Node.start(town.dir, "birch", town.acme);
    town.browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_OPTIONS.args });
    return town;
  }

  /** One more person at acme, for groups. */
  async third() {
    const third = await Person.at(this, this.acme);
    await third.signUp(`finch${++this.thirds}`);
    return third;
  }

  thirds = 0;

  async end() {
    await this.browser?.close();
    await Promise.all([this.acme?.stop(), this.birch?.stop()]);
    await rm(this.dir, { recursive: true, force: true });
  }
}
