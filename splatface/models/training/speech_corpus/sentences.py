# SPDX-License-Identifier: Apache-2.0
"""Text that the corpus voices speak: sentences in 14 languages, and random pseudo-sentences."""

from collections import defaultdict
from functools import cache
from typing import Final

import numpy as np

__all__ = ["HELD_OUT_SENTENCES", "SENTENCES", "pseudo_sentence"]

HELD_OUT_SENTENCES: Final = 8  # the last English ones, which no training voice speaks

_ENGLISH = """
Hello there, my name is Paula, and I am very pleased to meet you.
Bob bought a big blue balloon for the baby before breakfast.
My mother makes marvellous marmalade, and my father loves it.
Please put the purple paper back in the box by the piano.
We were walking slowly through the woods when the wolf began to howl.
Who knew that you would move to the moon so soon?
Five very funny fish were found floating off the coast of Finland.
I think that the weather on Thursday will be rather bad. Bring a thick coat.
She sells sharp scissors in a small shop on the shore.
The judge and the children chose cheese, orange juice and chocolate.
Are you coming to the party, or are you staying at home?
No! I don't want to talk about it any more. Never, ever again.
Okay. One, two, three, four, five, six, seven, eight, nine, ten.
It is half past eleven, so we have about forty minutes left.
The quick brown fox jumps over the lazy dog near the river bank.
How much wood would a woodchuck chuck, if a woodchuck could chuck wood?
Maybe I am wrong, but the problem seems to be in the pump room.
Open the window, please. It is far too warm in here.
Oh wow, what a beautiful view from up here!
Could you tell me the way to the museum? I am a bit lost.
Every evening he eats rice with peas and a little green pepper.
The robot has a friendly face, and it watches everybody who walks by.
Voices echo in empty rooms; people speak softly in libraries.
A heavy lamp fell from the shelf and broke into many pieces.
We fly to Vienna on Friday and leave for Lisbon on Monday evening.
Thank you very much for your help. Have a wonderful afternoon.
Mr. Brown prefers apples; Mrs. Brown buys pears, plums and apricots.
Look at the map. The path goes up, over the bridge, and around the lake.
I am sorry, I did not understand that. Would you say it again?
The engine hummed, coughed, and suddenly stopped in the middle of nowhere.
Push the button, wait for a beep, and then pull the lever back.
You are always welcome to visit us, whenever you like.
Summer storms bring thunder, heavy rain and a smell of wet earth.
My favourite film is about a poor painter who falls in love with a baker.
Ask the woman at the desk. She usually knows what to do.
Do you prefer coffee or tea? Both are ready on the table.
The farmer's goose ran across the muddy field towards the barn.
People often forget how important it is to breathe deeply.
Vivid violet flowers cover the valley from April to July.
Measure the length twice, because usually the first measure is off.
I'm happy. Are you happy? We are all happy. What about him?
Put up with it, or speak up. But please, stop complaining.
"""

_SENTENCES = {
    "en": _ENGLISH,
    "de": """
Guten Morgen, mein Name ist Petra und ich freue mich, Sie zu sehen.
Bitte bringen Sie mir ein Brötchen mit Butter und eine Tasse Kaffee.
Fünf Vögel flogen über das Dorf und sangen schöne Lieder.
Wir wohnen in einem blauen Haus am Ufer der Mosel.
Könnten Sie mir sagen, wo der Bahnhof ist? Ich habe mich verlaufen.
Am Abend spielen die Buben oft Fußball hinter der alten Mühle.
Das Wetter wird morgen wahrscheinlich besser, aber es bleibt kühl.
Zwölf Boxkämpfer jagen den Bäcker quer über die große Brücke.
Meine Mutter macht immer Apfelmus und Pflaumenkuchen.
Nein, das stimmt nicht. Ich war überhaupt nicht müde.
Schöne grüne Bäume stehen in unserem Garten, und im Sommer blühen sie.
Vielen Dank für Ihre Hilfe, auf Wiedersehen!
""",
    "es": """
Buenos días, me llamo Pablo y soy un poco tímido.
Mi madre prepara una sopa muy buena con papas y pimientos.
El perro de mi abuelo come mucho pan por la mañana.
¿Puede usted decirme dónde está la plaza mayor, por favor?
Vamos a bailar juntos bajo la luna llena de verano.
Un burro viejo bebe agua en el río blanco.
Mañana por la tarde voy a comprar zapatos nuevos.
Me gusta mucho la música, pero no sé cantar bien.
Siempre llueve cuando salimos a caminar por el bosque.
Hombre, no me hables así. Estoy cansado y tengo hambre.
Cinco amigos fueron al mar y volvieron muy felices.
Muchas gracias por todo, hasta la próxima semana.
""",
    "fr": """
Bonjour, je m'appelle Paul et je suis heureux de vous voir.
Ma mère prépare une bonne soupe avec des pommes de terre.
Vous voulez un peu de pain avec du beurre et du fromage?
Le vieux bateau bleu est parti vers le port ce matin.
Pouvez-vous me dire où se trouve la gare, s'il vous plaît?
Un petit oiseau chante sur la branche du pommier.
Il fait beau aujourd'hui, mais demain il va pleuvoir.
Nous avons bu un verre de vin rouge près du feu.
J'aime beaucoup la musique, surtout le piano et la flûte.
Je ne sais pas pourquoi tu n'as rien mangé hier soir.
Neuf femmes folles fabriquent des fenêtres en février.
Merci beaucoup pour votre aide, à bientôt, au revoir!
""",
    "it": """
Buongiorno, mi chiamo Paola e sono molto felice di vedervi.
Mia mamma prepara sempre una buona zuppa di pomodoro.
Il vecchio bambino beve l'acqua fresca della fontana.
Potete dirmi dove si trova la piazza del mercato, per favore?
Domani mattina andremo al mare con la barca di Beppe.
Non ho mai visto un fiume così bello e profondo.
Che cosa vuoi mangiare stasera? Pasta, pesce o pollo?
Grazie mille per tutto, a presto e buona fortuna!
""",
    "pt": """
Bom dia, o meu nome é Paulo e gosto muito de música.
A minha mãe prepara um bom pão de manhã cedo.
Você pode me dizer onde fica a praça, por favor?
O menino bebeu um copo de água fria depois do futebol.
Amanhã vamos passear pela praia e comer peixe.
Não sei porque o barco velho ficou sem bandeira.
Uma mulher bonita abriu a porta azul do palácio.
Muito obrigado por tudo, até a próxima semana!
""",
    "ja-romaji": """
konnichiwa, watashi no namae wa momoko desu.
kyoo wa totemo ii tenki desu ne. sanpo ni ikimashoo.
sumimasen, eki wa doko desu ka?
haha wa maiasa oishii gohan o tsukutte kuremasu.
boku wa puuru de oyogu no ga suki desu.
fuyu ni naru to, yuki ga takusan furimasu.
moo ichido yukkuri itte kudasai, onegai shimasu.
ashita no gogo, tomodachi to eiga o mini ikimasu.
pan to batto to boorupen o kaimashita.
arigatoo gozaimashita, mata aimashoo.
""",
    "nl": """
Goedemorgen, mijn naam is Bram en ik woon in een oud huis.
Mijn moeder maakt vandaag soep met wortels en prei.
Vijf vogels vliegen over het veld bij de rivier.
Kunt u mij vertellen waar het museum is, alstublieft?
Wij fietsen elke zomer samen naar het mooie strand.
Bedankt voor alles, en tot de volgende keer!
""",
    "sv": """
God morgon, jag heter Per och jag bor vid sjön.
Min mamma bakar bröd och bullar varje fredag.
Kan du hjälpa mig att öppna fönstret, är du snäll?
Fem små fåglar flög över den blåa båten.
Vi åker hem imorgon om vädret blir bättre.
Tack så mycket för maten, den var mycket god.
""",
    "pl": """
Dzień dobry, mam na imię Paweł i bardzo lubię muzykę.
Moja mama piecze pyszny chleb w każdą sobotę.
Czy może mi pan powiedzieć, gdzie jest dworzec?
Pięć małych ptaków poleciało wysoko nad pole.
Jutro po południu pojedziemy razem nad morze.
Bardzo dziękuję za pomoc, do widzenia!
""",
    "ru": """
Доброе утро, меня зовут Пётр, и я очень рад вас видеть.
Моя бабушка варит вкусный борщ каждую субботу.
Скажите, пожалуйста, где находится вокзал?
Пять белых птиц быстро полетели над полем.
Мы вместе пойдём гулять, если будет хорошая погода.
Большое спасибо за помощь, до свидания!
""",
    "tr": """
Günaydın, benim adım Bülent ve bu şehri çok seviyorum.
Annem her pazar bize börek ve çorba yapar.
Affedersiniz, müze nerede acaba, biliyor musunuz?
Beş küçük kuş mavi evin üstünden uçtu.
Yarın öğleden sonra birlikte parka gideceğiz.
Yardımınız için çok teşekkür ederim, görüşürüz!
""",
    "fi": """
Hyvää huomenta, minun nimeni on Pekka ja asun metsän lähellä.
Äiti leipoo pullaa ja keittää puuroa joka aamu.
Voisitteko sanoa, missä on lähin kauppa?
Viisi pientä lintua lensi puun yli pellolle.
Huomenna me menemme yhdessä uimaan järvelle.
Paljon kiitoksia avusta, näkemiin!
""",
    "hi": """
नमस्ते, मेरा नाम पूजा है और मैं बहुत खुश हूँ।
मेरी माँ हर सुबह बहुत अच्छी चाय बनाती हैं।
क्या आप मुझे बता सकते हैं कि बाज़ार कहाँ है?
पाँच छोटे पक्षी नीले आसमान में उड़ गए।
कल हम सब मिलकर फ़िल्म देखने जाएँगे।
आपकी मदद के लिए बहुत धन्यवाद, फिर मिलेंगे!
""",
    "cmn": """
你好，我叫王芳，很高兴认识你。
我妈妈每天早上做包子和豆腐。
请问，博物馆怎么走？
五只白色的小鸟飞过了蓝色的湖面。
明天下午我们一起去跑步，好不好？
非常感谢你的帮助，再见！
""",
}

SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    language: tuple(line for line in text.strip().splitlines() if line)
    for language, text in _SENTENCES.items()
}


_WORD_COUNT_RANGE = (4, 10)
_INVENTED_FRACTION = 0.5  # of the words
_MAX_LETTERS = 10  # of an invented word
_PUNCTUATION = ".,;:!?，。？！"
_START, _END = "\x02", "\x03"


def pseudo_sentence(language: str, rng: np.random.Generator) -> str:
    """Make a meaningless sentence of four to nine words of a language of SENTENCES, half of them invented.

    A net that is trained on the same sentences again and again overfits to them; sounds must follow each
    other in every order.
    """
    words, following_letters = _word_model(language)
    if language == "cmn":  # not written in letters: its clauses are shuffled
        return "，".join(str(word) for word in rng.choice(words, 2)) + "。"
    chosen = [
        _invent_word(following_letters, rng) if rng.random() < _INVENTED_FRACTION else str(rng.choice(words))
        for _ in range(int(rng.integers(*_WORD_COUNT_RANGE)))
    ]
    if len(chosen) > 5 and rng.random() < 0.5:
        chosen[len(chosen) // 2] += ","
    return " ".join(chosen) + str(rng.choice([".", ".", "?"]))


@cache
def _word_model(language: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a language's words and, for every two letters, all letters that follow them in the words."""
    sentences = SENTENCES[language]
    if language == "en":
        sentences = sentences[:-HELD_OUT_SENTENCES]
    if language == "cmn":
        return tuple(clause for text in sentences for clause in text.strip(_PUNCTUATION).split("，")), {}
    words = [word.strip(_PUNCTUATION) for text in sentences for word in text.lower().split()]
    following_letters: dict[str, str] = defaultdict(str)
    for word in words:
        letters = _START * 2 + word + _END
        for i in range(2, len(letters)):
            following_letters[letters[i - 2 : i]] += letters[i]
    return tuple(words), dict(following_letters)


def _invent_word(following_letters: dict[str, str], rng: np.random.Generator) -> str:
    word = _START * 2
    while not word.endswith(_END) and len(word) < _MAX_LETTERS + 2:
        letters = following_letters[word[-2:]]
        word += letters[int(rng.integers(len(letters)))]
    return word.strip(_START + _END)
