// @ts-check
/** The emoji that the page completes and offers, by their names. The page loads it when it is needed. */

/** Names and emoji in the order in which they are offered. */
const NAMES =
  `smile 😄 grin 😁 joy 😂 rofl 🤣 wink 😉 blush 😊 innocent 😇 heart_eyes 😍 kissing 😘 yum 😋
tongue 😛 zany 🤪 thinking 🤔 raised_eyebrow 🤨 neutral 😐 expressionless 😑 smirk 😏 unamused 😒
rolling_eyes 🙄 grimacing 😬 relieved 😌 pensive 😔 sleepy 😪 sleeping 😴 mask 😷 sick 🤢 dizzy 😵
exploding_head 🤯 cowboy 🤠 partying 🥳 sunglasses 😎 nerd 🤓 confused 😕 worried 😟 frowning 🙁 open_mouth 😮
astonished 😲 flushed 😳 pleading 🥺 fearful 😨 cry 😢 sob 😭 scream 😱 weary 😩 yawning 🥱 triumph 😤
angry 😠 rage 😡 skull 💀 clown 🤡 ghost 👻 robot 🤖 alien 👽 cat 😺 heart ❤️ orange_heart 🧡 yellow_heart 💛
green_heart 💚 blue_heart 💙 purple_heart 💜 black_heart 🖤 broken_heart 💔 hundred 💯 boom 💥 sparkles ✨
star ⭐ fire 🔥 tada 🎉 gift 🎁 balloon 🎈 trophy 🏆 wave 👋 ok_hand 👌 v ✌️ crossed_fingers 🤞 point_left 👈
point_right 👉 point_up 👆 point_down 👇 thumbsup 👍 thumbsdown 👎 fist ✊ punch 👊 clap 👏 raised_hands 🙌
handshake 🤝 pray 🙏 muscle 💪 eyes 👀 brain 🧠 shrug 🤷 facepalm 🤦 bow 🙇 runner 🏃 dancer 💃 baby 👶
dog 🐶 fox 🦊 bear 🐻 panda 🐼 unicorn 🦄 bee 🐝 bug 🐛 turtle 🐢 dinosaur 🦕 whale 🐳 octopus 🐙 rose 🌹
sunflower 🌻 tree 🌳 cactus 🌵 sun ☀️ moon 🌙 rainbow 🌈 cloud ☁️ snowflake ❄️ umbrella ☔ zap ⚡ earth 🌍
apple 🍎 banana 🍌 strawberry 🍓 lemon 🍋 avocado 🥑 bread 🍞 cheese 🧀 pizza 🍕 burger 🍔 taco 🌮 sushi 🍣
cake 🍰 cookie 🍪 chocolate 🍫 coffee ☕ tea 🍵 beer 🍺 wine 🍷 soccer ⚽ basketball 🏀 guitar 🎸 art 🎨 game 🎮
car 🚗 bike 🚲 train 🚆 plane ✈️ rocket 🚀 house 🏠 clock ⏰ phone 📱 computer 💻 bulb 💡 book 📖 pencil ✏️
lock 🔒 key 🔑 hammer 🔨 wrench 🔧 gear ⚙️ link 🔗 pin 📌 mail ✉️ calendar 📅 chart 📈 check ✅ x ❌ warning ⚠️
question ❓ exclamation ❗ recycle ♻️ white_flag 🏳️ checkered_flag 🏁`;

/** All emoji by their names. @type {ReadonlyMap<string, string>} */
export const EMOJI = new Map(
  [...NAMES.matchAll(/(\S+)\s+(\S+)/g)].map(([, name = "", emoji = ""]) => [name, emoji]),
);
